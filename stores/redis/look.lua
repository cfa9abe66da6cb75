-- Looks for a mark and, where ARGV[3] is "forget", takes it back. KEYS: the counter,
-- the record. ARGV: the counter's time to live in ms, not used, what to do.
-- Answers with the counter and 1 where the key was marked, else 0.
local n = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local found = redis.call('GET', KEYS[2])
if not found or string.byte(found) == 99 then
  return {n, 0}
end
if ARGV[3] == 'forget' then
  redis.call('DEL', KEYS[2])
end
return {n, 1}
