-- Notes a ticket of a user. If the user has too many then, the oldest ones are forgotten.
--
-- KEYS  the user's tickets: name and size of each, by the time when it expires
-- ARGV  the ticket's name, its size (bytes), its lifetime (ms), most tickets, most bytes
-- Returns the names of the tickets that were forgotten and have not expired.
local tickets = KEYS[1]
local name, size, life = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local held, bytes = {}, size
for _, member in ipairs(redis.call('ZRANGEBYSCORE', tickets, '-inf', string.format('%.0f', now))) do
  redis.call('ZREM', tickets, member)
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', tickets, '-inf', '+inf')) do
  local ticket, taken = string.match(member, '^(%S+) (%d+)$')
  held[#held + 1] = {member, ticket, tonumber(taken)}
  bytes = bytes + tonumber(taken)
end

local forgotten = {}
for i, one in ipairs(held) do
  if #held - i + 1 < most and bytes <= most_bytes then break end
  redis.call('ZREM', tickets, one[1])
  bytes = bytes - one[3]
  forgotten[#forgotten + 1] = one[2]
end
redis.call('ZADD', tickets, string.format('%.0f', now + life), name .. ' ' .. size)
redis.call('PEXPIRE', tickets, life)
return forgotten
