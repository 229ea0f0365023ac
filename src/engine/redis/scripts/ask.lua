#!lua flags=allow-oom
-- Asks the other nodes.
--
-- KEYS  questions
-- ARGV  number of questions that are kept, the question
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'e', ARGV[2])
