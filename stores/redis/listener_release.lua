-- release.lua in RocketMQDedupListener's layout.
local lost, n = {0}, 1
local late = tonumber(ARGV[2])
for i = 2, #KEYS do
  local key = KEYS[i]
  local owner = 'firstseen:owner:' .. key
  local held, found = redis.call('GET', owner) == ARGV[i + 1], redis.call('GET', key)
  local theirs = found == 'CONSUMED' or found and redis.call('PTTL', owner) < late and redis.call('PTTL', key) > 5
  if held and not theirs then
    redis.call('DEL', key)
  else
    n = n + 1
    lost[n] = i - 1
  end
  if held then
    redis.call('DEL', owner)
  end
end
lost[1] = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return lost
