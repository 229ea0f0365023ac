-- Counts a login as failed for an account and an address in advance, unless one of them has failed too often.
--
-- KEYS  for each of them, the times of its last failures (ms), latest first
-- ARGV  shift of the clock (ms), most failures, time over which they count (ms)
-- Returns 1 if it was counted, and 0 if one of them has failed too often.
local shift, most, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + shift

local failures = {}
for i, key in ipairs(KEYS) do
  failures[i] = {string.format('%.0f', now)}
  for at in string.gmatch(redis.call('GET', key) or '', '%d+') do
    if now - tonumber(at) < window then table.insert(failures[i], at) end
  end
  -- The one of now is in it.
  if #failures[i] > most then return 0 end
end
for i, key in ipairs(KEYS) do
  redis.call('SET', key, table.concat(failures[i], ' '), 'PX', window)
end
return 1
