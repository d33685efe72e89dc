-- limit_settle: turn what a decision reserved into what its call really used.
-- PARTS       now, int, limit, window, buckets, log, calendar, debt
-- KEYS[i]     limit      one a limit: list (w), string (b), sorted set (l) or hash (k),
--             all of one hash tag
-- KEYS[n+1]   refunded   sorted set: calls that were refunded or settled; passed when the
--             call may be repeated, so that it stays allowed and is settled once
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[5i-3]  algorithm  w SlidingWindow, b SlidingBuckets, l SlidingLog, k CalendarQuota
-- ARGV[5i-2]  stamp      of the limit in the decision's reply; 0 or less gives nothing
--             back
-- ARGV[5i-1]  window     µs, 10^3 .. 400 days; k: 0 or, if actual is above cost, periods
--             around now as in limit_take_calendar
-- ARGV[5i]    cost       permits the decision spent, >= 0
-- ARGV[5i+1]  actual     permits the call used, 0 .. 10^9 (w, b, k) or 100 (l)
-- ARGV[5n+2]  call       the name of the call, without #, or '' when no limit is a
--             SlidingLog
-- RETURNS     {1 settled | 0 the call was settled before | -1 now is not among the
--             periods, then now in place of the first, then for each limit: permits given
--             back or minus those spent}
-- EXPIRES     each limit as by a take; refunded, two windows and a second after the last
--             settlement
-- COST        w: 1 to 7 commands, O(quota) at worst; b: 2 to 3 commands; l: 2 to 6
--             commands, O(actual); k: 3 to 6 commands
-- RETRY       unsafe: the second run would give back another's permits, or spend twice
local give = {w = window.refund, b = buckets.refund, k = calendar.refund}
local owe = {w = debt.window, b = debt.buckets, l = debt.log, k = debt.calendar}
local name, n = ARGV[#ARGV], (#ARGV - 2) / 5
local limits, reply, longest, admitted = {}, {1}, 0, 0

-- give.l removes the last permits and keeps the first: they make the admission sticky.
function give.l(limit)
  local stamp = call('ZSCORE', limit.key, limit.call .. '#1')
  if not stamp or stamp + 0 ~= limit.stamp then return 0 end
  if limit.stamp <= now - limit.window then return 0 end
  local named = {}
  for i = limit.actual + 1, limit.actual + limit.cost do
    named[#named + 1] = limit.call .. '#' .. int(i)
  end
  return call('ZREM', limit.key, unpack(named))
end

for i = 1, n do
  local cost, actual = ARGV[5 * i] + 0, ARGV[5 * i + 1] + 0
  local limit = {
    key = KEYS[i], letter = ARGV[5 * i - 3], stamp = ARGV[5 * i - 2] + 0, quota = 0,
    cost = math.max(cost - actual, actual - cost), actual = actual, call = name,
  }
  limit.owes = actual > cost
  if limit.letter == 'k' then
    limit.algorithm = calendar
    if limit.owes and not place(limit, ARGV[5 * i - 1]) then
      reply = {-1, now}
      for other = 2, n do reply[1 + other] = 0 end
      return reply
    end
  else
    limit.window = ARGV[5 * i - 1] + 0
  end
  if limit.letter == 'l' then
    longest, admitted = math.max(longest, limit.window), math.max(admitted, limit.stamp)
  end
  limits[i], reply[1 + i] = limit, 0
end
if KEYS[n + 1] then
  local settled = call('ZSCORE', KEYS[n + 1], name)
  if settled and settled + 0 > now - longest then
    reply[1] = 0
    return reply
  end
end
for i, limit in ipairs(limits) do
  if limit.owes then
    reply[1 + i] = -limit.cost
    owe[limit.letter](limit)
  elseif limit.cost > 0 and limit.stamp > 0 then
    reply[1 + i] = give[limit.letter](limit)
  end
end
if KEYS[n + 1] and admitted > now - longest then
  call('ZREMRANGEBYSCORE', KEYS[n + 1], '-inf', int(now - longest))
  call('ZADD', KEYS[n + 1], int(admitted), name)
  call('PEXPIRE', KEYS[n + 1], ttl(now, longest))
end
return reply
