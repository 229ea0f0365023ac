-- States how many connections users have on one node, and grants places for more under the limit of all nodes.
--
-- KEYS  for each user: its connections by node
-- ARGV  the name under which the node counts, how long the numbers are kept (ms), how many names do not count any more,
--       these names, then for each user: its connections to the node, how many more are asked for, the limit, and 1 if a
--       node that has all connections makes room itself and 0 if not
-- Returns for each user how many are granted, then, if that is not all, name and number of each other node.
local name, kept, gone = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function state(counts, held, asked, limit, makes_room)
  if gone > 0 then redis.call('HDEL', counts, unpack(ARGV, 4, 3 + gone)) end
  local granted, answer = asked, {asked}
  if asked > 0 then
    local all, elsewhere = redis.call('HGETALL', counts), 0
    for i = 1, #all, 2 do
      if all[i] ~= name then
        answer[#answer + 1] = all[i]
        answer[#answer + 1] = all[i + 1]
        elsewhere = elsewhere + tonumber(all[i + 1])
      end
    end
    if not makes_room or elsewhere > 0 then
      granted = math.max(0, math.min(asked, limit - held - elsewhere))
      answer[1] = granted
    end
  end
  if held + granted > 0 then
    redis.call('HSET', counts, name, held + granted)
    redis.call('PEXPIRE', counts, kept)
  else
    redis.call('HDEL', counts, name)
  end
  if granted == asked then return {granted} end
  return answer
end

local answers, at = {}, 4 + gone
for i, counts in ipairs(KEYS) do
  local held, asked, limit = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  answers[i] = state(counts, held, asked, limit, ARGV[at + 3] == '1')
  at = at + 4
end
return answers
