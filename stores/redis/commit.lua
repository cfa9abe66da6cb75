-- Marks the keys of claims. KEYS: the counter, then one record for each claim.
-- ARGV: the counter's time to live in ms, not used, the window in ms, then for each
-- claim its record (empty: it has none, mark the key unless it is marked) and the mark.
-- Answers with the counter and, for each claim that is not held: its position and
-- 1 where the key is marked, else 0.
local answer, n = {redis.call('INCR', KEYS[1])}, 1
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local window = ARGV[3]
for i = 2, #KEYS do
  local mine, mark = ARGV[2 * i], ARGV[2 * i + 1]
  local found = redis.call('GET', KEYS[i])
  local marked = found and string.byte(found) ~= 99
  if found == mine or mine == '' and not marked then
    redis.call('SET', KEYS[i], mark, 'PX', window)
  elseif mine ~= '' then
    answer[n + 1], answer[n + 2] = i - 1, marked and 1 or 0
    n = n + 2
  end
end
return answer
