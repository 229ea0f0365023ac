#!lua flags=allow-oom
-- Writes standings back that a node remembers, into a store that may have lost them. A newer one stays.
--
-- KEYS  meta, standings
-- ARGV  epoch, the id to write, who asks, then for each standing: the user, the standing
local meta, standings = KEYS[1], KEYS[2]
if redis.call('HGET', meta, 'epoch') ~= ARGV[1] then
  return redis.error_reply('EPOCH the log is another one')
end
local function time(json)
  local standing = cjson.decode(json)
  return math.max(standing.changed_at_ms or 0, standing.logged_out_at_ms or 0)
end
local adopted = 0
for i = 4, #ARGV, 2 do
  local user, mine = ARGV[i], ARGV[i + 1]
  local row = redis.call('HGET', standings, user)
  local theirs = row and string.match(row, '^%S+ %S+ (.*)$')
  if not theirs or time(theirs) < time(mine) then
    redis.call('HSET', standings, user, ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. mine)
    adopted = adopted + 1
  end
end
return adopted
