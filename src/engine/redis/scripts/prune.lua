-- Removes standings that no token can depend on any more, if they are still as they were read.
--
-- KEYS  standings
-- ARGV  for each standing: the user, the row
-- Returns the number that was removed.
local removed = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return removed
