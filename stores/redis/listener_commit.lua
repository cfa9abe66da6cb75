-- commit.lua in RocketMQDedupListener's layout. An owner's record that Java deleted
-- is written again; one that is there after the owner's lease is Java's.
local answer, n = {redis.call('INCR', KEYS[1])}, 1
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local late, window = tonumber(ARGV[2]), ARGV[3]
for i = 2, #KEYS do
  local key, mine = KEYS[i], ARGV[2 * i]
  local owner = 'firstseen:owner:' .. key
  local found = redis.call('GET', key)
  local held = mine == '' or redis.call('GET', owner) == mine
  local theirs = found == 'CONSUMED' or mine ~= '' and found and redis.call('PTTL', owner) < late and redis.call('PTTL', key) > 5
  if held and not theirs then
    redis.call('SET', key, 'CONSUMED', 'PX', window)
  elseif mine ~= '' then
    answer[n + 1], answer[n + 2], n = i - 1, found == 'CONSUMED' and 1 or 0, n + 2
  end
  if held and mine ~= '' then
    redis.call('DEL', owner)
  end
end
return answer
