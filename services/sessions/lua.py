"""The script by which a chunk of events takes effect in Redis: all of it, or nothing.

KEYS: the partition's `pos:`, then n users' `u:`, then c `co:` and t `tr:` sets.
ARGV: pos expected, pos new, n, c, user TTL s, members at most and TTL s of a `co:` set, the same of
a `tr:` set, sets (MessagePack: for each set its members and their log2 weights), then for each user
the guard expected (empty: no state yet) and the new state.

Everything is read and compared before anything is written, so that an error in between, such as a
key of another type, leaves no half of an effect.

A full set takes a newcomer in place of its lowest member, at that one's score with the newcomer's
weight added (space-saving, Metwally 2005): else a rising item could never enter.
"""

from __future__ import annotations

from typing import Final

WRITTEN: Final = 0
POSITION_DIFFERS: Final = 1
GUARD_DIFFERS: Final = 2

WRITE_CHUNK: Final = """
local call, ln2 = redis.call, math.log(2)

local function sum(a, b) -- log2(2^a + 2^b)
  if a < b then a, b = b, a end
  return a + math.log(1 + 2 ^ (b - a)) / ln2
end

if (call('GET', KEYS[1]) or '') ~= ARGV[1] then return 1 end

local users, covisits = tonumber(ARGV[3]), tonumber(ARGV[4])
for i = 1, users do
  local guard = ARGV[9 + 2 * i]
  if guard == '' then
    if call('EXISTS', KEYS[1 + i]) == 1 then return 2 end
  elseif call('GETRANGE', KEYS[1 + i], 0, #guard - 1) ~= guard then
    return 2
  end
end

local sets = cmsgpack.unpack(ARGV[10])
for i, set in ipairs(sets) do
  set.held = call('ZMSCORE', KEYS[1 + users + i], unpack(set[1]))
end

for i, set in ipairs(sets) do
  local key = KEYS[1 + users + i]
  local limit, ttl = ARGV[6], ARGV[7]
  if i > covisits then limit, ttl = ARGV[8], ARGV[9] end
  local members, weights, held = set[1], set[2], set.held
  local scored, newcomers, n = {}, {}, 0
  for j, member in ipairs(members) do
    if held[j] then
      scored[n + 1], scored[n + 2] = sum(tonumber(held[j]), weights[j]), member
      n = n + 2
    else
      newcomers[#newcomers + 1] = j
    end
  end
  local room = #newcomers == 0 and 0 or limit - call('ZCARD', key)
  local entering = math.max(0, math.min(#newcomers, room))
  for k = 1, entering do
    scored[n + 1], scored[n + 2] = weights[newcomers[k]], members[newcomers[k]]
    n = n + 2
  end
  if n > 0 then call('ZADD', key, unpack(scored)) end
  while entering < #newcomers do
    local lowest, replacing = call('ZPOPMIN', key, #newcomers - entering), {}
    for at = 1, #lowest, 2 do
      entering = entering + 1
      local newcomer = newcomers[entering]
      replacing[at] = sum(tonumber(lowest[at + 1]), weights[newcomer])
      replacing[at + 1] = members[newcomer]
    end
    call('ZADD', key, unpack(replacing))
  end
  call('EXPIRE', key, ttl)
end

for i = 1, users do
  call('SET', KEYS[1 + i], ARGV[10 + 2 * i], 'EX', ARGV[5])
end
call('SET', KEYS[1], ARGV[2])
return 0
"""
