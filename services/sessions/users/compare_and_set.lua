-- Sets keys if each still holds what is expected: all of them, or none. KEYS: n. ARGV: for each the
-- value expected (empty: none, or a value of another type, which Freshet writes nowhere), the new
-- one, its TTL in s (0: none). Returns 1 where they are set, 0 where one differs.

local call = redis.call
local held = call('MGET', unpack(KEYS))

for i = 1, #KEYS do
  if (held[i] or '') ~= ARGV[3 * i - 2] then return 0 end
end
for i = 1, #KEYS do
  if ARGV[3 * i] == '0' then
    call('SET', KEYS[i], ARGV[3 * i - 1])
  else
    call('SET', KEYS[i], ARGV[3 * i - 1], 'EX', ARGV[3 * i])
  end
end
return 1
