-- limit_take_calendar: limit_take for policies with a calendar quota.
-- PARTS       now, fastcalendar, int, limit, window, buckets, calendar
--             Most calls with one limit return in parts/fastcalendar.lua. The body
--             below decides all others. limit_take does without the calendar, so that
--             plain policies do not pay for it.
-- KEYS[i]     limit      one a limit: list (w), string (b) or hash (k), all of one hash
--             tag
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]     cost       permits, 1 .. the smallest quota
-- ARGV[3i]    algorithm  w SlidingWindow, b SlidingBuckets, k CalendarQuota
-- ARGV[3i+1]  quota      permits a window or period, 1 .. 4,096 (w) or 10^9 (b, k)
-- ARGV[3i+2]  window     µs, 10^3 .. 400 days; k: periods around now, 24 digits each, see
--             parts/calendar.lua
-- RETURNS     {1 allowed | 0 denied | -1 now is not among the periods, then for each
--             limit: remaining permits (with -1 the first is now), retry after µs (0: it
--             passes), reset after µs, stamp (0 or less: nothing spent)}
-- EXPIRES     each limit, at the latest 2.25 windows and a second after its last permit;
--             k: a day and a second after the newest period in which it has permits
-- COST        k: 3 to 7 commands admitted, 3 denied, or 5 if the next period is full
--             too; w and b as limit_take
-- RETRY       unsafe: running it twice spends twice
local algorithms = {w = window, b = buckets, k = calendar}
local cost, allowed, limits = ARGV[2] + 0, 1, {}
for i, key in ipairs(KEYS) do
  local limit = {
    key = key, algorithm = algorithms[ARGV[3 * i]], cost = cost,
    quota = ARGV[3 * i + 1] + 0,
  }
  if not place(limit, ARGV[3 * i + 2]) then return outside(#KEYS) end
  limits[i] = limit
end
for _, limit in ipairs(limits) do
  limit.algorithm.read(limit)
  if limit.wait > 0 then allowed = 0 end
end
local reply = {allowed}
for _, limit in ipairs(limits) do
  if allowed == 1 then limit.algorithm.spend(limit) else limit.algorithm.look(limit) end
  report(reply, limit)
end
return reply
