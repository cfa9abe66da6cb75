-- claim.lua in RocketMQDedupListener's layout: the record is "CONSUMING" or "CONSUMED",
-- as Java reads and writes it; who owns it stands in a second key, which outlives the
-- record by the time for late ends.
local answer, n = {redis.call('INCR', KEYS[1])}, 1
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local late, life, mine = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local lease = life - late

-- twin says whether the same key stands before position i of this call.
local function twin(i)
  for j = 2, i - 1 do
    if KEYS[j] == KEYS[i] then
      return true
    end
  end
end

for i = 2, #KEYS do
  local key = KEYS[i]
  local owner = 'firstseen:owner:' .. key
  local fresh = redis.call('SET', key, 'CONSUMING', 'NX', 'PX', lease)
  if not fresh then
    local found, ends = redis.call('GET', key), redis.call('PTTL', key)
    if found == 'CONSUMED' then
      answer[n + 1], answer[n + 2], answer[n + 3], n = i - 1, 1, ends, n + 3
    elseif found ~= 'CONSUMING' then
      return redis.error_reply('FOREIGN value of ' .. #found .. ' bytes in a record of RocketMQDedupListener')
    elseif redis.call('GET', owner) == mine and not twin(i) then
      fresh = redis.call('SET', key, 'CONSUMING', 'PX', lease) -- sent before, the answer got lost
    else
      answer[n + 1], answer[n + 2], answer[n + 3], n = i - 1, 4, ends, n + 3
    end
  end
  if fresh then
    redis.call('SET', owner, mine, 'PX', life)
  end
end
return answer
