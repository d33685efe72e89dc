-- limit_reset: forget all that was spent from the limits of a policy by one key.
-- PARTS       now, int, limit, buckets, calendar
-- KEYS[i]     limit      one a limit, all of one hash tag
-- KEYS[n+1]   refunded   the calls that were refunded; passed when a limit is a
--                        SlidingLog
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2i]    algorithm  w SlidingWindow, b SlidingBuckets, l SlidingLog, k CalendarQuota
-- ARGV[2i+1]  window     µs, 10^3 .. 400 days; k: 0
-- RETURNS     {keys emptied}
-- EXPIRES     what stays, so that the refund of what was spent before is not taken from
--             what is spent after: of a string (b) or a hash (k), when it would have,
--             its generation, one further; of a list (w) whose newest stamp is not past,
--             after a window and a second, a dead stamp of the next era
-- COST        2 to 4 commands a key
-- RETRY       safe: what is gone is gone
local emptied, n = 0, (#ARGV - 1) / 2

-- forget_list keeps the era of a list that may have stamps ahead of the clock in another
-- era.
local function forget_list(key, window)
  local newest = call('LINDEX', key, '-1')
  emptied = emptied + call('UNLINK', key)
  if not newest then return end
  local its = newest - newest % era
  if newest - its >= now then
    trace(key, window, (its + era) % (3 * era))
  elseif its > 0 and newest - its > now - window - lead(window) then
    trace(key, window, its)
  end
end

for i = 1, n do
  local key, algorithm = KEYS[i], ARGV[2 * i]
  if algorithm == 'w' then
    forget_list(key, ARGV[2 * i + 1] + 0)
  elseif algorithm == 'b' then
    emptied = emptied + buckets.forget(key)
  elseif algorithm == 'k' then
    emptied = emptied + calendar.forget(key)
  else
    emptied = emptied + call('UNLINK', key)
  end
end
if KEYS[n + 1] then emptied = emptied + call('UNLINK', KEYS[n + 1]) end
return {emptied}
