-- limit_refund: give back what one decision spent, where it still counts.
-- PARTS       now, int, limit, window, buckets, log, calendar
-- KEYS[i]     limit      one a limit: list (w), string (b), sorted set (l) or hash (k),
--             all of one hash tag
-- KEYS[n+1]   refunded   sorted set: calls that were refunded or settled; passed when the
--             call may be repeated, so that it stays allowed and free
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]     call       the name of the call, without #, or '' when no limit is a
--             SlidingLog
-- ARGV[3]     limits     how many limits, 1 .. 8
-- ARGV[4i]    algorithm  w SlidingWindow, b SlidingBuckets, l SlidingLog, k CalendarQuota
-- ARGV[4i+1]  stamp      of the limit in the decision's reply; 0 or less refunds
--             nothing
-- ARGV[4i+2]  window     µs, 10^3 .. 400 days; k: 0
-- ARGV[4i+3]  cost       permits the decision spent from this limit, >= 0
-- RETURNS     {for each limit: permits given back}
-- EXPIRES     refunded, two windows and a second after the last refund
-- COST        w: 2 commands, O(quota) at worst: the stamp is looked for from the newest
--             on; b and l: 3 commands; k: 3 commands
-- RETRY       unsafe: in buckets the second run would give back another's permits
local algorithms = {w = window, b = buckets, l = log, k = calendar}
local name, n = ARGV[2], ARGV[3] + 0
local limits, reply, longest, admitted = {}, {}, 0, 0
for i = 1, n do
  limits[i] = {
    key = KEYS[i], algorithm = algorithms[ARGV[4 * i]], call = name,
    stamp = ARGV[4 * i + 1] + 0, window = ARGV[4 * i + 2] + 0, cost = ARGV[4 * i + 3] + 0,
  }
  reply[i] = 0
  if limits[i].algorithm == log then
    longest = math.max(longest, limits[i].window)
    admitted = math.max(admitted, limits[i].stamp)
  end
end
if KEYS[n + 1] then
  local settled = call('ZSCORE', KEYS[n + 1], name)
  if settled and settled + 0 > now - longest then return reply end
end
for i, limit in ipairs(limits) do
  if limit.stamp > 0 then reply[i] = limit.algorithm.refund(limit) end
end
if KEYS[n + 1] and admitted > 0 then
  call('ZREMRANGEBYSCORE', KEYS[n + 1], '-inf', int(now - longest))
  call('ZADD', KEYS[n + 1], int(admitted), name)
  call('PEXPIRE', KEYS[n + 1], ttl(now, longest))
end
return reply
