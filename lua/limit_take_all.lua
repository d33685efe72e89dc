-- limit_take_all: decide calls of several policies and keys: spend all, or nothing.
-- PARTS       now, flatpath, int, limit, window, buckets, log, calendar
--             Many calls return in parts/flatpath.lua, which decides SlidingWindow limits
--             with cost 1. The body below decides all others. A group is one call: one
--             key under one policy. No two groups have a key in common: all are read
--             before one is written.
-- KEYS[i]     limits     of each group in turn: the key of each limit, list (w), string
--             (b), sorted set (l) or hash (k); then, if the group is marked, the sorted
--             set of the calls that were refunded. The groups may have different hash
--             tags, so all keys must be on one server.
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]     form       how many groups, 1 .. 16; or w: each key is a group of its own,
--             a SlidingWindow with cost 1 that is enforced
-- ARGV[3]     words      of each group in turn: how many limits, 1 .. 8; '' enforced or d
--             dry run; the name of the call, without #, or '' if no limit is a SlidingLog
--             or if nothing is spent; 1 marked, the call may be repeated, or 0; then for
--             each limit its algorithm, quota and window as in limit_take_once, and cost.
--             The cost is 1 .. quota permits, or 0: one must be free, and none is spent.
-- ARGV[2i+1]  quota      in form w: permits a window, 1 .. 4,096
-- ARGV[2i+2]  window     in form w: µs, 10^3 .. 400 days
-- RETURNS     {for each group: 0 denied | 1 spent | 2 allowed before, nothing spent now |
--             3 the call was allowed before at another cost | 4 allowed, but not spent:
--             an enforced group has 0 or 3; then for each limit: remaining permits,
--             retry after µs (0: it passes), reset after µs, stamp (0 or less: nothing
--             spent)}. If now is not among the periods of a limit: -1, now, then zeros.
-- EXPIRES     each limit as in limit_take_once
-- COST        as limit_take_once for each limit
-- RETRY       unsafe: running it twice spends twice
local algorithms = {w = window, b = buckets, l = log, k = calendar}
local next_key, next_word, inside = 1, 3, true

-- read_limit makes the table of the limit at next_key and next_word.
local function read_limit(name)
  local cost = ARGV[next_word + 3] + 0
  local limit = {
    key = KEYS[next_key], algorithm = algorithms[ARGV[next_word]], call = name,
    quota = ARGV[next_word + 1] + 0, cost = math.max(cost, 1), free = cost == 0,
  }
  if not place(limit, ARGV[next_word + 2]) then inside = false end
  next_key, next_word = next_key + 1, next_word + 4
  return limit
end

-- read_group makes the table of the group at next_key and next_word.
local function read_group()
  local n, marked = ARGV[next_word] + 0, ARGV[next_word + 3]
  local group = {
    dry = ARGV[next_word + 1] == 'd', call = ARGV[next_word + 2], limits = {},
  }
  next_word = next_word + 4
  for i = 1, n do
    group.limits[i] = read_limit(group.call)
  end
  if marked == '1' then
    group.refunded = KEYS[next_key]
    next_key = next_key + 1
  end
  return group
end

-- read_groups makes the tables of all groups.
local function read_groups()
  local groups = {}
  if ARGV[2] ~= 'w' then
    local n = ARGV[2] + 0
    for i = 1, n do
      groups[i] = read_group()
    end
    return groups
  end
  for i, key in ipairs(KEYS) do
    local limit = {
      key = key, algorithm = window, cost = 1,
      quota = ARGV[2 * i + 1] + 0, window = ARGV[2 * i + 2] + 0,
    }
    groups[i] = {call = '', limits = {limit}}
  end
  return groups
end

-- not_inside is the reply if now is not among the periods of a limit. Nothing was read or
-- written.
local function not_inside(groups)
  local n = #groups
  for _, group in ipairs(groups) do n = n + 4 * #group.limits end
  local reply = {-1, now}
  for i = 3, n do reply[i] = 0 end
  return reply
end

-- admitted_before returns 2 or 3 for a call that was admitted before, nil for others. The
-- refunded calls come first: one that was settled bears another cost since then.
local function admitted_before(group)
  local before, odd, longest = false, false, 0
  for _, limit in ipairs(group.limits) do
    if limit.algorithm == log then
      longest = math.max(longest, limit.window)
      limit.before, limit.odd = log.admitted(limit)
      if limit.before then before = true end
      if limit.odd then odd = true end
    end
  end
  if group.refunded then
    local key, name = group.refunded, group.call
    group.marked = call('ZSCORE', key, name)
    if group.marked and group.marked + 0 > now - longest then return 2 end
  end
  if odd then return 3 end
  if before then return 2 end
  return nil
end

-- decide finds the verdict of a group by itself.
local function decide(group)
  group.verdict = 1
  for _, limit in ipairs(group.limits) do
    limit.algorithm.read(limit)
    if limit.wait > 0 then group.verdict = 0 end
  end
  if group.call ~= '' then
    group.verdict = admitted_before(group) or group.verdict
  end
end

local groups, pass, reply = read_groups(), true, {}
if not inside then return not_inside(groups) end
for _, group in ipairs(groups) do
  decide(group)
  if not group.dry and (group.verdict == 0 or group.verdict == 3) then pass = false end
end
for i, group in ipairs(groups) do
  if group.verdict == 1 and not pass then group.verdict = 4 end
  reply[i] = group.verdict
end
for _, group in ipairs(groups) do
  -- This admission is settled by itself, also when the clock steps back after it.
  if group.marked and group.verdict == 1 then
    local key, name = group.refunded, group.call
    call('ZREM', key, name)
  end
  for _, limit in ipairs(group.limits) do
    if group.verdict == 1 and not limit.free then
      limit.algorithm.spend(limit)
    else
      limit.algorithm.look(limit)
      limit.stamp = limit.before or limit.stamp
    end
    report(reply, limit)
  end
end
return reply
