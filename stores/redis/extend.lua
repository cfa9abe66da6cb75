-- Extends a claim. KEYS: the counter, the record. ARGV: the counter's time to live
-- in ms, not used, the claim's record, the new lease with the time for late ends in ms.
-- Answers with the counter and 1 where the claim is held, else 0.
local held = 0
local n = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if redis.call('GET', KEYS[2]) == ARGV[3] then
  held = redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return {n, held}
