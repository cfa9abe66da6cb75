-- Claims keys. KEYS: the counter, then one record for each key.
-- ARGV: the counter's time to live in ms, the time for late ends in ms, a lease with
-- that time in ms, the claims' record, which no other call has.
-- Answers with the counter and, for each key that is not fresh: its position, a
-- code (1 marked, 2 marked and its result was too large, 3 marked with a result,
-- 4 in flight), how long that lasts in ms, and with code 3 the result.
local answer, n = {redis.call('INCR', KEYS[1])}, 1
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local late, life, mine = tonumber(ARGV[2]), ARGV[3], ARGV[4]

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
  if not redis.call('SET', key, mine, 'NX', 'PX', life) then
    local found, ends = redis.call('GET', key), redis.call('PTTL', key)
    local code
    if found == '1' then
      code = 1
    elseif found == '2' then
      code = 2
    else
      local kind = string.byte(found)
      if kind == 61 then -- "=", a mark with a result
        code = 3
      elseif kind == 99 and #found == 17 then -- "c", a claim
        if found == mine and not twin(i) or ends <= late then
          -- This call was sent before and its answer got lost, or the lease has ended.
          redis.call('SET', key, mine, 'PX', life)
        else
          code, ends = 4, ends - late
        end
      else
        return redis.error_reply('FOREIGN value of ' .. #found .. ' bytes in a record of firstseen')
      end
    end
    if code then
      answer[n + 1], answer[n + 2], answer[n + 3] = i - 1, code, ends
      n = n + 3
      if code == 3 then
        n = n + 1
        answer[n] = string.sub(found, 2)
      end
    end
  end
end
return answer
