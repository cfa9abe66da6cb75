-- look.lua in RocketMQDedupListener's layout.
local n = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if redis.call('GET', KEYS[2]) ~= 'CONSUMED' then
  return {n, 0}
end
if ARGV[3] == 'forget' then
  redis.call('DEL', KEYS[2])
end
return {n, 1}
