-- limit_take_once: limit_take for policies with a SlidingLog: admits a call once.
-- PARTS       now, int, limit, window, buckets, log, calendar
-- KEYS[i]     limit      one a limit: list (w), string (b), sorted set (l) or hash (k),
--             all of one hash tag
-- KEYS[n+1]   refunded   sorted set: calls that were refunded or settled, by the instant
--             of their admission, unix µs; not passed for a call that nobody can repeat
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]     cost       permits, 1 .. the smallest quota and 100
-- ARGV[3i]    algorithm  w SlidingWindow, b SlidingBuckets, l SlidingLog, k CalendarQuota
-- ARGV[3i+1]  quota      permits a window or period, 1 .. 4,096 (w, l) or 10^9 (b, k)
-- ARGV[3i+2]  window     µs, 10^3 .. 400 days; k: periods around now, 24 digits each, see
--             parts/calendar.lua
-- ARGV[3n+3]  call       the name of the call, without #
-- RETURNS     {0 denied | 1 allowed | 2 allowed before, nothing spent now |
--             3 the call was allowed before at another cost | -1 now is not among the
--             periods, then as limit_take_calendar}
-- EXPIRES     each limit, at the latest 2.25 windows and a second after its last permit;
--             k as limit_take_calendar
-- COST        l: 8 to 9 commands admitted, 6 denied, each O(log quota), and O(cost), and
--             1 or 2 more with refunded; w, b and k as limit_take_calendar
-- RETRY       safe: the second run finds the call and spends nothing, within the longest
--             window of its SlidingLog limits
local algorithms = {w = window, b = buckets, l = log, k = calendar}
local cost, name, n = ARGV[2] + 0, ARGV[#ARGV], (#ARGV - 3) / 3
local status, limits, longest = 1, {}, 0
for i = 1, n do
  local limit = {
    key = KEYS[i], algorithm = algorithms[ARGV[3 * i]], cost = cost, call = name,
    quota = ARGV[3 * i + 1] + 0,
  }
  if not place(limit, ARGV[3 * i + 2]) then return outside(n) end
  limits[i] = limit
end
for _, limit in ipairs(limits) do
  limit.algorithm.read(limit)
  if limit.wait > 0 then status = 0 end
end
local before, odd
for _, limit in ipairs(limits) do
  if limit.algorithm == log then
    longest = math.max(longest, limit.window)
    limit.before, limit.odd = log.admitted(limit)
    before, odd = before or limit.before, odd or limit.odd
  end
end
-- The refunded calls come first: one that was settled bears another cost since then.
local refunded = KEYS[n + 1] and call('ZSCORE', KEYS[n + 1], name)
if refunded and refunded + 0 > now - longest then
  status = 2
elseif odd then
  status = 3
elseif before then
  status = 2
end
-- This admission is settled by itself, also when the clock steps back after it.
if refunded and status == 1 then call('ZREM', KEYS[n + 1], name) end
local reply = {status}
for _, limit in ipairs(limits) do
  if status == 1 then
    limit.algorithm.spend(limit)
  else
    limit.algorithm.look(limit)
    limit.stamp = limit.before or limit.stamp
  end
  report(reply, limit)
end
return reply
