-- extend.lua in RocketMQDedupListener's layout.
-- A record about to end is the owner's own: PTTL reads the clock, GET the script's start.
local n = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local key, late = KEYS[2], tonumber(ARGV[2])
local owner = 'firstseen:owner:' .. key
local found = redis.call('GET', key)
local theirs = found == 'CONSUMED' or found and redis.call('PTTL', owner) < late and redis.call('PTTL', key) > 5
if redis.call('GET', owner) ~= ARGV[3] or theirs then
  return {n, 0}
end
redis.call('SET', key, 'CONSUMING', 'PX', ARGV[4] - late)
redis.call('PEXPIRE', owner, ARGV[4])
return {n, 1}
