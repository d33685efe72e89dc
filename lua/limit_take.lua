-- limit_take: spend the cost from every limit of a policy, or from none, and report each.
-- PARTS       now, fastpath, fastbuckets, int, limit, window, buckets
--             Most calls return in parts/fastpath.lua, which decides one SlidingWindow
--             limit with cost 1, or in parts/fastbuckets.lua, which decides one
--             SlidingBuckets limit. The body below decides all others.
-- KEYS[i]     limit      one a limit: list (w) or string (b), all of one hash tag
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]     cost       permits, 1 .. the smallest quota
-- ARGV[3i]    algorithm  w SlidingWindow, b SlidingBuckets
-- ARGV[3i+1]  quota      permits a window, 1 .. 4,096 (w) or 10^9 (b)
-- ARGV[3i+2]  window     µs, 10^3 .. 400 days
-- RETURNS     {allowed 0|1, then for each limit: remaining permits,
--             retry after µs (0: it passes), reset after µs, stamp (0: nothing spent)}
-- EXPIRES     each limit, at the latest 2.25 windows and a second after its last permit
-- COST        w: 4 to 8 commands admitted, 2 denied; O(log quota) with a long dead tail;
--             b: 3 commands admitted, 2 denied, one more off the fast path; the repair
--             after a clock step O(quota), once
-- RETRY       unsafe: running it twice spends twice
local algorithms = {w = window, b = buckets}
local cost, allowed, limits = ARGV[2] + 0, 1, {}
for i, key in ipairs(KEYS) do
  local limit = {
    key = key, algorithm = algorithms[ARGV[3 * i]], cost = cost,
    quota = ARGV[3 * i + 1] + 0, window = ARGV[3 * i + 2] + 0,
  }
  limit.algorithm.read(limit)
  if limit.wait > 0 then allowed = 0 end
  limits[i] = limit
end
local reply = {allowed}
for _, limit in ipairs(limits) do
  if allowed == 1 then limit.algorithm.spend(limit) else limit.algorithm.look(limit) end
  report(reply, limit)
end
return reply
