-- Appends a numbered group of entries once, however often it is asked for.
--
-- KEYS  log, meta, the writer's last group, then the publishers' ids that the entries name
-- ARGV  epoch, number, shift of the clock (ms), how long entries are kept (ms), how long ids are remembered (ms),
--       then for each entry: the index of its publisher's id in KEYS, or 0; the entry
-- Without entries, a group that was not appended never will be.
-- Returns the ids of the entries in one string.
local log, meta, writer = KEYS[1], KEYS[2], KEYS[3]
local epoch, number, shift = ARGV[1], ARGV[2], tonumber(ARGV[3])
local keep, remember = tonumber(ARGV[4]), ARGV[5]

if redis.call('HGET', meta, 'epoch') ~= epoch then
  return redis.error_reply('EPOCH the log is another one')
end
local done = redis.call('GET', writer)
if done then
  local before, ids = string.match(done, '^(%d+) (.*)$')
  if before == number then
    -- Also a write, so that WAIT covers the group's entries on a new connection.
    redis.call('PEXPIRE', writer, remember)
    return ids
  end
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + shift
local function append(entry)
  if shift == 0 then return redis.call('XADD', log, '*', 'e', entry) end
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  local ms = newest and tonumber(string.match(newest[1], '^%d+')) or 0
  return redis.call('XADD', log, string.format('%.0f-*', math.max(now, ms)), 'e', entry)
end

local ids = {}
for i = 6, #ARGV, 2 do
  local source = tonumber(ARGV[i])
  local id = source > 0 and redis.call('GET', KEYS[source])
  if not id then
    id = append(ARGV[i + 1])
    if source > 0 then redis.call('SET', KEYS[source], id, 'PX', remember) end
  end
  ids[#ids + 1] = id
end
local all = table.concat(ids, ' ')
redis.call('SET', writer, number .. ' ' .. all, 'PX', remember)
if #ids > 0 then
  redis.call('XTRIM', log, 'MINID', '~', string.format('%.0f', math.max(now - keep, 0)))
end
return all
