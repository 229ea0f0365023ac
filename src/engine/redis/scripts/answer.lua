#!lua flags=allow-oom
-- Answers a question of another node.
--
-- KEYS  answers to it
-- ARGV  node, its answer, time for which the answers are kept (ms)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
