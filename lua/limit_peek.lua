-- limit_peek: what limit_take would answer now, without writing.
-- PARTS       now, int, limit, window, buckets, log, calendar
-- KEYS[i]     limit      one a limit: list (w), string (b), sorted set (l) or hash (k),
--             all of one hash tag
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]     cost       permits, 1 .. the smallest quota
-- ARGV[3i]    algorithm  w SlidingWindow, b SlidingBuckets, l SlidingLog, k CalendarQuota
-- ARGV[3i+1]  quota      permits a window or period, 1 .. 4,096 (w, l) or 10^9 (b, k)
-- ARGV[3i+2]  window     µs, 10^3 .. 400 days; k: periods around now, 24 digits each, see
--             parts/calendar.lua
-- RETURNS     {1 would be allowed | 0 | -1 now is not among the periods, then for each
--             limit: remaining permits (with -1 the first is now), retry after µs (0: it
--             passes), reset after µs, 0 or less}
-- EXPIRES     nothing, it writes nothing
-- COST        w: O(log quota) commands; b: 2 commands; l: 5 commands; k: 2 to 3
--             commands
-- RETRY       safe: it writes nothing
local algorithms = {w = window, b = buckets, l = log, k = calendar}
local reply, limits = {1}, {}
for i, key in ipairs(KEYS) do
  local limit = {
    key = key, algorithm = algorithms[ARGV[3 * i]], cost = ARGV[2] + 0, peek = true,
    quota = ARGV[3 * i + 1] + 0,
  }
  if not place(limit, ARGV[3 * i + 2]) then return outside(#KEYS) end
  limits[i] = limit
end
for _, limit in ipairs(limits) do
  limit.algorithm.read(limit)
  if limit.wait > 0 then reply[1] = 0 end
  limit.algorithm.look(limit)
  report(reply, limit)
end
return reply
