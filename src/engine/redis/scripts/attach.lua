#!lua flags=allow-oom
-- Compares what a node knows with what the store has. Run first on each connection.
--
-- KEYS  log, meta
-- ARGV  format, fresh epoch, known epoch ('' at a start), the node's last id (ms, seq), shift of the clock (ms),
--       seq of a new log's first id
-- Returns verdict, epoch, run id of the server, first id, last id, time (ms), eviction policy.
local log, meta = KEYS[1], KEYS[2]
local format, fresh, known = ARGV[1], ARGV[2], ARGV[3]
local last = {tonumber(ARGV[4]), tonumber(ARGV[5])}
local origin = '{"origin":{}}'

local function text(number) return string.format('%.0f', number) end
local function parse(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return {tonumber(ms), tonumber(seq)}
end
local function less(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end

local stored = redis.call('HGET', meta, 'format')
if stored and stored ~= format then
  return redis.error_reply('FORMAT the log has format ' .. stored .. ', this version knows ' .. format)
end
local epoch = redis.call('HGET', meta, 'epoch')
if not epoch then
  epoch = fresh
  redis.call('HSET', meta, 'epoch', epoch, 'format', format)
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + tonumber(ARGV[6])

local function look()
  local first, newest, generated
  if redis.call('EXISTS', log) == 1 then
    local fields = redis.call('XINFO', 'STREAM', log)
    for i = 1, #fields, 2 do
      local name, value = fields[i], fields[i + 1]
      if name == 'last-generated-id' then generated = parse(value) end
      if name == 'first-entry' and value then first = parse(value[1]) end
      if name == 'last-entry' and value then newest = parse(value[1]) end
    end
  end
  return first, newest, generated or {0, 0}
end
-- An entry that nobody receives: it raises the next id above everything that was given out or seen.
local function mark(after, seq)
  local ms = math.max(now, after[1] + 1)
  redis.call('XADD', log, text(ms) .. '-' .. seq, 'e', origin)
end

local first, newest, generated = look()
if not first then
  mark(less(generated, last) and last or generated, ARGV[7])
  first, newest, generated = look()
end

local verdict
if known == '' then
  verdict = 'start'
elseif known ~= epoch then
  verdict = 'new-log'
elseif #redis.call('XRANGE', log, text(last[1]) .. '-' .. text(last[2]), text(last[1]) .. '-' .. text(last[2])) == 1 then
  verdict = 'resume'
elseif less(last, first) then
  verdict = 'trimmed'
else
  verdict = 'forked'
end
if (verdict == 'new-log' or verdict == 'forked') and not less(last, generated) then
  mark(last, '0')
  first, newest = look()
end

-- A server that does not allow INFO has no run id here, and its policy is not checked.
local run, policy = '', ''
local info = redis.pcall('INFO', 'server')
if type(info) == 'string' then run = string.match(info, 'run_id:(%w+)') or '' end
info = redis.pcall('INFO', 'memory')
if type(info) == 'string' then policy = string.match(info, 'maxmemory_policy:([%w-]+)') or '' end

return {
  verdict, epoch, run,
  text(first[1]) .. '-' .. text(first[2]), text(newest[1]) .. '-' .. text(newest[2]),
  text(now), policy,
}
