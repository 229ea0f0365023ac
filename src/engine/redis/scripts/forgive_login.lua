-- Takes back the latest failure of an account and an address, because the login that was counted has succeeded.
--
-- KEYS  for each of them, the times of its last failures (ms), latest first
-- Returns nothing.
for _, key in ipairs(KEYS) do
  local failures = redis.call('GET', key)
  if failures then
    -- The key expires as before.
    redis.call('SET', key, string.match(failures, '^%d+ ?(.*)$') or '', 'KEEPTTL')
  end
end
