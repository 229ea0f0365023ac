#!lua flags=allow-oom
-- Stores a user's new standing and the entry of its change, if the standing is still the one that it was computed
-- from.
--
-- KEYS  log, meta, standings
-- ARGV  epoch, shift of the clock (ms), user, the row before ('' for none), who asks and which request it is, the
--       new standing, the entry
-- Returns {1, id}, or {0} if the row is another one by now.
local log, meta, standings = KEYS[1], KEYS[2], KEYS[3]
local epoch, shift, user, before, tag = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]

if redis.call('HGET', meta, 'epoch') ~= epoch then
  return redis.error_reply('EPOCH the log is another one')
end
if (redis.call('HGET', standings, user) or '') ~= before then return {0} end
local id = '*'
if shift ~= 0 then
  local clock = redis.call('TIME')
  local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + shift
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  local ms = newest and tonumber(string.match(newest[1], '^%d+')) or 0
  id = string.format('%.0f-*', math.max(now, ms))
end
id = redis.call('XADD', log, id, 'e', ARGV[7])
redis.call('HSET', standings, user, id .. ' ' .. tag .. ' ' .. ARGV[6])
return {1, id}
