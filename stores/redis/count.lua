-- Counts a call that does nothing else. KEYS: the counter. ARGV: its time to live
-- in ms. Answers with the counter.
local n = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {n}
