-- Says which segments may open a scope of trending: those that have one, and new ones while there is
-- room. KEYS: `segments`. ARGV: s now, s since when a segment must have been used to keep its place,
-- places, then the segments. Returns 1 or 0 for each.

local call, key, now, places = redis.call, KEYS[1], ARGV[1], tonumber(ARGV[3])
local admitted = {}

call('ZREMRANGEBYSCORE', key, '-inf', '(' .. ARGV[2])
for i = 4, #ARGV do
  admitted[i - 3] = 0
  if call('ZSCORE', key, ARGV[i]) or call('ZCARD', key) < places then
    call('ZADD', key, 'GT', now, ARGV[i])
    admitted[i - 3] = 1
  end
end
return admitted
