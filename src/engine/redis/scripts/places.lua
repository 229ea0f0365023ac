-- States how many connections a user has on one node, and grants places for more under the limit of all nodes.
--
-- KEYS  the user's connections by node
-- ARGV  the name under which the node counts, its number of connections, how many more are asked for, the limit,
--       1 if a node that has all connections makes room itself and 0 if not, how long the numbers are kept (ms), then
--       names that do not count any more
-- Returns how many are granted, then, if that is not all, name and number of each other node.
local counts, name = KEYS[1], ARGV[1]
local held, asked, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if #ARGV > 6 then
  redis.call('HDEL', counts, unpack(ARGV, 7))
end

local granted, others = asked, {}
if asked > 0 then
  local all, elsewhere = redis.call('HGETALL', counts), 0
  for i = 1, #all, 2 do
    if all[i] ~= name then
      others[#others + 1] = all[i]
      others[#others + 1] = all[i + 1]
      elsewhere = elsewhere + tonumber(all[i + 1])
    end
  end
  if ARGV[5] ~= '1' or elsewhere > 0 then
    granted = math.max(0, math.min(asked, limit - held - elsewhere))
  end
end
if held + granted > 0 then
  redis.call('HSET', counts, name, held + granted)
  redis.call('PEXPIRE', counts, ARGV[6])
else
  redis.call('HDEL', counts, name)
end
if granted == asked then return {granted} end
return {granted, unpack(others)}
