-- Takes from all buckets, or from none. KEYS: the buckets. ARGV: for each its rate (tokens a second, 0: never filled
-- again), its burst, the cost. The clock is the server's, so that gateways with other clocks agree.
-- Answers: the first bucket refused (0: none), milliseconds until all could be met, then the tokens in each.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local refused, wait, tokens = 0, 0, {}
for i = 1, #KEYS do
  local rate, burst, cost = tonumber(ARGV[i * 3 - 2]), tonumber(ARGV[i * 3 - 1]), tonumber(ARGV[i * 3])
  local held = redis.call('HMGET', KEYS[i], 't', 'a')
  tokens[i] = math.min(burst, (tonumber(held[1]) or burst) + math.max(0, now - (tonumber(held[2]) or now)) * rate)
  local need = math.min(cost, burst)
  if tokens[i] < need then
    if refused == 0 then refused = i end
    if rate > 0 then wait = math.max(wait, (need - tokens[i]) / rate) end
  end
end
local answer = { refused, math.ceil(wait * 1000) }
for i = 1, #KEYS do
  local rate, burst, cost = tonumber(ARGV[i * 3 - 2]), tonumber(ARGV[i * 3 - 1]), tonumber(ARGV[i * 3])
  if refused == 0 then
    tokens[i] = tokens[i] - cost
    redis.call('HSET', KEYS[i], 't', string.format('%.6f', tokens[i]), 'a', string.format('%.6f', now))
    local ttl = 40 * 86400
    if rate > 0 then ttl = math.min(ttl, math.ceil((burst - tokens[i]) / rate) + 60) end
    redis.call('EXPIRE', KEYS[i], ttl)
  end
  answer[i + 2] = string.format('%.3f', tokens[i])
end
return answer
