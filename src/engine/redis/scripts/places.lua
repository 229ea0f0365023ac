-- States how many connections users have on one node, and grants places for more under the limit of all nodes.
--
-- KEYS  for each user: its connections by node
-- ARGV  the name under which the node counts, how long the numbers are kept (ms), the limit, 1 if a node that has all
--       connections makes room itself and 0 if not, how many names do not count any more, these names, then for each
--       user: its connections to the node, and their number with those that are asked for
-- Returns for each user how many are granted, if that is all; else a list of that, then name and number of each other
-- node.
local call, name, kept = redis.call, ARGV[1], ARGV[2]
local limit, makes_room, gone = tonumber(ARGV[3]), ARGV[4] == '1', tonumber(ARGV[5])

-- Why not all of a user's places are granted.
local function partly(granted, all)
  local answer = {granted}
  for i = 1, #all, 2 do
    if all[i] ~= name then
      answer[#answer + 1] = all[i]
      answer[#answer + 1] = all[i + 1]
    end
  end
  return answer
end

-- Numbers stay texts where they can, because Redis takes longer to format a number than to copy a text.
local function state(counts, held, wanted)
  if gone > 0 then call('HDEL', counts, unpack(ARGV, 6, 5 + gone)) end
  local asked, answer = 0, 0
  if held ~= wanted then
    asked = wanted - held
    answer = asked
    local all, elsewhere = call('HGETALL', counts), 0
    for i = 1, #all, 2 do
      if all[i] ~= name then elsewhere = elsewhere + all[i + 1] end
    end
    if (not makes_room or elsewhere > 0) and wanted + elsewhere > limit then
      local granted = math.max(0, limit - held - elsewhere)
      wanted = tostring(held + granted)
      answer = partly(granted, all)
    end
  end
  if wanted ~= '0' then
    call('HSET', counts, name, wanted)
    call('PEXPIRE', counts, kept)
  else
    call('HDEL', counts, name)
  end
  return answer
end

local answers, at = {}, 6 + gone
for i = 1, #KEYS do
  answers[i] = state(KEYS[i], ARGV[at], ARGV[at + 1])
  at = at + 2
end
return answers
