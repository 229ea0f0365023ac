#!lua flags=allow-oom
-- What a node says of itself between two beats.
--
-- KEYS  what nodes say of themselves
-- ARGV  node, what it says
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
