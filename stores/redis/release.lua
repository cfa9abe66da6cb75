-- Gives claims up. KEYS: the counter, then one record for each claim.
-- ARGV: the counter's time to live in ms, not used, then each claim's record.
-- Answers with the counter and the position of each claim that is not held.
-- The counter comes last: a server that is out of memory refuses INCR to a script
-- that has written nothing, and claims must be given up there too.
local lost, n = {0}, 1
for i = 2, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[i + 1] then
    redis.call('DEL', KEYS[i])
  else
    n = n + 1
    lost[n] = i - 1
  end
end
lost[1] = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return lost
