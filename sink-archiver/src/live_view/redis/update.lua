-- KEYS: the user's hash. ARGV: milliseconds to keep a complete hash, to keep another one, then field and value
-- of each record. A value starts with its version, 30 characters that compare as text.
for i = 3, #ARGV, 2 do
    local known = redis.call('HGET', KEYS[1], ARGV[i])
    if not known or string.sub(known, 1, 30) < string.sub(ARGV[i + 1], 1, 30) then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
end
-- A hash nobody asked for is kept just long enough to be seen by a reader that is filling it now.
local complete = redis.call('HEXISTS', KEYS[1], 'complete_in')
redis.call('PEXPIRE', KEYS[1], complete == 1 and ARGV[1] or ARGV[2])
return 1
