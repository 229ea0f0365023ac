#!lua flags=allow-oom
-- A node's sign of life: it renews the node's lease, makes the log's readers notice that the store is alive, and
-- bounds the log's size.
--
-- KEYS  log, meta, beat, nodes, what nodes say of themselves
-- ARGV  epoch, node, what it says of itself, lease (ms), the newest id that it has read (ms, seq), most bytes of the
--       log, time between beats (ms), name of the node's process, when that began (ms), 1 if no other process can be
--       running as this node and 0 if not
-- Returns time (ms), the log's newest id, the names of the live nodes, the sum of their users.
local log, meta, beat, nodes, said = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local lease, most = tonumber(ARGV[4]), tonumber(ARGV[7])

if redis.call('HGET', meta, 'epoch') ~= ARGV[1] then
  return redis.error_reply('EPOCH the log is another one')
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local newest, length = '0-0', 0
if redis.call('EXISTS', log) == 1 then
  local fields = redis.call('XINFO', 'STREAM', log)
  for i = 1, #fields, 2 do
    if fields[i] == 'last-generated-id' then newest = fields[i + 1] end
    if fields[i] == 'length' then length = fields[i + 1] end
  end
end
local ms, seq = string.match(newest, '^(%d+)-(%d+)$')
ms, seq = tonumber(ms), tonumber(seq)
local read_ms, read_seq = tonumber(ARGV[5]), tonumber(ARGV[6])
if ms < read_ms or (ms == read_ms and seq < read_seq) then
  return redis.error_reply('BEHIND the log ends before what was read from it')
end

-- Of two processes that run as one node, the one that began later keeps the name.
local before = redis.call('HGET', said, ARGV[2]) or ''
local writer = string.match(before, '"writer":"([^"]*)"') or ''
if ARGV[11] ~= '1' and writer ~= '' and writer ~= ARGV[9] then
  local began = tonumber(string.match(before, '"started_ms":(%d+)') or 0)
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', nodes, string.format('%.0f', now), '+inf')) do
    if node == ARGV[2] and began > tonumber(ARGV[10]) then
      return redis.error_reply('TAKEN another process runs as this node')
    end
  end
end

-- One beat a second is enough for all readers, whichever node it is from.
local last = redis.call('XREVRANGE', beat, '+', '-', 'COUNT', 1)[1]
if not last or now - tonumber(string.match(last[1], '^%d+')) >= tonumber(ARGV[8]) then
  redis.call('XADD', beat, 'MAXLEN', 1, '*', 'n', ARGV[2])
end

redis.call('ZADD', nodes, now + lease, ARGV[2])
redis.call('HSET', said, ARGV[2], ARGV[3])
-- Nodes that have been gone for some leases are forgotten.
local gone = redis.call('ZRANGEBYSCORE', nodes, '-inf', now - 5 * lease, 'LIMIT', 0, 100)
for _, node in ipairs(gone) do
  redis.call('ZREM', nodes, node)
  redis.call('HDEL', said, node)
end

local used = redis.pcall('MEMORY', 'USAGE', log)
if type(used) == 'number' and used > most and length > 1 then
  redis.call('XTRIM', log, 'MAXLEN', '~', math.max(1, math.floor(length * most / used)))
end
local live = redis.call('ZRANGEBYSCORE', nodes, string.format('%.0f', now), '+inf')

local is_live, users = {}, 0
for _, node in ipairs(live) do is_live[node] = true end
local all = redis.call('HGETALL', said)
for i = 1, #all, 2 do
  if is_live[all[i]] then
    users = users + tonumber(string.match(all[i + 1], '"users":(%d+)') or 0)
  end
end
return {string.format('%.0f', now), newest, live, users}
