
local call, log, ln2 = redis.call, math.log, math.log(2)

local function sum(a, b) -- log2(2^a + 2^b)
  if a < b then a, b = b, a end
  return a + log(1 + 2 ^ (b - a)) / ln2
end

local users, covisits = tonumber(ARGV[3]), tonumber(ARGV[4])
local sets, increments, held = #KEYS - 1 - users, cmsgpack.unpack(ARGV[10]), {}

if (call('GET', KEYS[1]) or '') ~= ARGV[1] then return 1 end
for i = 1, users do
  local guard = ARGV[9 + 2 * i]
  if guard == '' then
    if call('EXISTS', KEYS[1 + i]) == 1 then return 2 end
  elseif call('GETRANGE', KEYS[1 + i], 0, #guard - 1) ~= guard then
    return 2
  end
end
local at = 1
for i = 1, sets do
  local key, m = KEYS[1 + users + i], increments[at]
  if m == 1 then
    held[i] = call('ZSCORE', key, increments[at + 1])
  else
    held[i] = call('ZMSCORE', key, unpack(increments, at + 1, at + m))
  end
  at = at + 1 + 2 * m
end

local function add_one(key, limit, score, member, weight)
  if score then
    weight = sum(tonumber(score), weight)
  elseif call('ZCARD', key) >= limit then
    weight = sum(tonumber(call('ZPOPMIN', key)[2]), weight)
  end
  call('ZADD', key, weight, member)
end

local function add_many(key, limit, scores, m, members, weights) -- the last two: where they begin
  local scored, n, newcomers, entering = {}, 0, {}, 0
  for j = 1, m do
    if scores[j] then
      scored[n + 1] = sum(tonumber(scores[j]), increments[weights + j])
      scored[n + 2] = increments[members + j]
      n = n + 2
    else
      newcomers[#newcomers + 1] = j
    end
  end
  if #newcomers > 0 then
    entering = math.max(0, math.min(#newcomers, limit - call('ZCARD', key)))
    for k = 1, entering do
      scored[n + 1] = increments[weights + newcomers[k]]
      scored[n + 2] = increments[members + newcomers[k]]
      n = n + 2
    end
  end
  if n > 0 then call('ZADD', key, unpack(scored)) end
  while entering < #newcomers do
    local lowest, replacing = call('ZPOPMIN', key, #newcomers - entering), {}
    for k = 1, #lowest, 2 do
      entering = entering + 1
      replacing[k] = sum(tonumber(lowest[k + 1]), increments[weights + newcomers[entering]])
      replacing[k + 1] = increments[members + newcomers[entering]]
    end
    call('ZADD', key, unpack(replacing))
  end
end

at = 1
local limit, ttl = tonumber(ARGV[6]), ARGV[7]
for i = 1, sets do
  if i > covisits then limit, ttl = tonumber(ARGV[8]), ARGV[9] end
  local key, m = KEYS[1 + users + i], increments[at]
  if m == 1 then
    add_one(key, limit, held[i], increments[at + 1], increments[at + 2])
  else
    add_many(key, limit, held[i], m, at, at + m)
  end
  call('EXPIRE', key, ttl)
  at = at + 1 + 2 * m
end

for i = 1, users do
  call('SET', KEYS[1 + i], ARGV[10 + 2 * i], 'EX', ARGV[5])
end
call('SET', KEYS[1], ARGV[2])
return 0
