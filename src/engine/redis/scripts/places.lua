-- States how many connections users have on one node, and grants places for more under the limit of all nodes.
--
-- KEYS  for each user: its connections by node, as the name and number of each, separated by spaces
-- ARGV  the name under which the node counts, how long the numbers are kept (ms), the limit, 1 if a node that has all
--       connections makes room itself and 0 if not, how many names do not count any more, these names, then for each
--       user: its connections to the node, and their number with those that are asked for
-- Returns for each user how many are granted, if that is all; else a list of that, then name and number of each other
-- node.
local call, name, kept = redis.call, ARGV[1], ARGV[2]
local limit, makes_room, names_gone = tonumber(ARGV[3]), ARGV[4] == '1', tonumber(ARGV[5])
local gone = {}
for i = 6, 5 + names_gone do gone[ARGV[i]] = true end

-- Most users have connections to one node only, so their numbers are stored before those of other nodes are known.
local function state(counts, held, wanted)
  local before
  if wanted == '0' then
    before = call('GETDEL', counts)
  else
    before = call('SET', counts, name .. ' ' .. wanted, 'PX', kept, 'GET')
  end
  local others, elsewhere = {}, 0
  if before then
    for other, number in string.gmatch(before, '(%S+) (%d+)') do
      if other ~= name and not gone[other] then
        others[#others + 1] = other
        others[#others + 1] = number
        elsewhere = elsewhere + number
      end
    end
  end
  local asked = wanted - held
  local granted = asked
  if asked > 0 and (not makes_room or elsewhere > 0) and wanted + elsewhere > limit then
    granted = math.max(0, limit - held - elsewhere)
  end
  if granted < asked or elsewhere > 0 then
    local all = table.concat(others, ' ')
    if held + granted > 0 then all = name .. ' ' .. held + granted .. ' ' .. all end
    if all == '' then
      call('DEL', counts)
    else
      call('SET', counts, all, 'PX', kept)
    end
  end
  if granted < asked then return {granted, unpack(others)} end
  return granted
end

local answers, at = {}, 6 + names_gone
for i = 1, #KEYS do
  answers[i] = state(KEYS[i], ARGV[at], ARGV[at + 1])
  at = at + 2
end
return answers
