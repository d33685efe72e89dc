-- debt: what a call used beyond its reservation. A debt is spent at the instant at which
-- it is known, whatever the quota, so a limit may hold more live permits than its quota
-- has. It counts for a window from then on and never from the instant of the take: a
-- permit must not come to lie before its use. A calendar counts it in the period of now.
-- NEEDS now: call, format, now; limit: era; window: window; buckets: buckets; log: log;
--       calendar: calendar
local debt = {}

-- listed is the largest quota of a list (w). All permits of a debt leave at one instant,
-- so that many keep every cost out, and more would change nothing.
local listed = 4096

-- window spends it from a list. Live permits are never trimmed: a refund of one of them
-- would make room that is not there.
function debt.window(limit)
  limit.ahead, limit.era, limit.edge = 0, 0, now - limit.window
  limit.newest = call('LINDEX', limit.key, '-1')
  if limit.newest then
    limit.era = limit.newest - limit.newest % era
    limit.newest = limit.newest - limit.era
    window.repair(limit)
  end
  limit.cost = math.min(limit.cost, listed)
  window.spend(limit)
end

-- buckets spends it from a string.
function debt.buckets(limit)
  buckets.read(limit)
  buckets.spend(limit)
end

-- log spends it from a sorted set, under a name of its own: the call may be charged again
-- after its horizon, while the debt still counts. The name has both instants. The later
-- one alone is not enough, because it can come again after a clock step.
function debt.log(limit)
  limit.ahead, limit.newest = 0, log.newest(limit)
  if limit.newest then log.repair(limit) end
  local stamp = now
  if limit.newest and limit.newest >= now then stamp = limit.newest + 1 end
  limit.call = format('%s#%.0f#%.0f', limit.call, limit.stamp, stamp)
  log.spend(limit)
end

-- calendar spends it in the period of now, which may be later than that of the take. The
-- quota is one that lets it pass: nobody asks how long to wait.
function debt.calendar(limit)
  limit.quota = 2000000000000000
  calendar.read(limit)
  calendar.spend(limit)
end
