-- What the live nodes say of themselves.
--
-- KEYS  nodes, what nodes say of themselves
-- Returns name and text of each.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local live = redis.call('ZRANGEBYSCORE', KEYS[1], string.format('%.0f', now), '+inf')
local all = {}
for _, node in ipairs(live) do
  all[#all + 1] = node
  all[#all + 1] = redis.call('HGET', KEYS[2], node) or ''
end
return all
