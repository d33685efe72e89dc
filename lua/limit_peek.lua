-- limit_peek: what limit_take would answer now, without writing.
-- PARTS       now, int, limit, window, buckets, log
-- KEYS[i]     limit      one a limit: list (w), string (b) or sorted set (l), all of one
--             hash tag
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]     cost       permits, 1 .. the smallest quota
-- ARGV[3i]    algorithm  w SlidingWindow, b SlidingBuckets, l SlidingLog
-- ARGV[3i+1]  quota      permits a window, 1 .. 4,096 (w, l) or 10^9 (b)
-- ARGV[3i+2]  window     µs, 10^3 .. 400 days
-- RETURNS     {1 would be allowed | 0, then for each limit: remaining permits,
--             retry after µs (0: it passes), reset after µs, 0}
-- EXPIRES     nothing, it writes nothing
-- COST        w: O(log quota) commands; b: 2 commands; l: 5 commands
-- RETRY       safe: it writes nothing
local algorithms = {w = window, b = buckets, l = log}
local reply = {1}
for i, key in ipairs(KEYS) do
  local limit = {
    key = key, algorithm = algorithms[ARGV[3 * i]], cost = ARGV[2] + 0, peek = true,
    quota = ARGV[3 * i + 1] + 0, window = ARGV[3 * i + 2] + 0,
  }
  limit.algorithm.read(limit)
  if limit.wait > 0 then reply[1] = 0 end
  limit.algorithm.look(limit)
  report(reply, limit)
end
return reply
