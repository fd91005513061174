-- KEYS: the user's hash, the erasure fence. ARGV: milliseconds to keep it, the epoch, then field and value of each
-- record. Newer records that are there stay.
if redis.call('EXISTS', KEYS[2]) == 1 then
    return 0
end
for i = 3, #ARGV, 2 do
    local known = redis.call('HGET', KEYS[1], ARGV[i])
    if not known or string.sub(known, 1, 30) < string.sub(ARGV[i + 1], 1, 30) then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
end
redis.call('HSET', KEYS[1], 'complete_in', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
