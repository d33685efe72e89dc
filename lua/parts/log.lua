-- log: SlidingLog, the exact log with names. The key is a sorted set of <call>#1 ...
-- <call>#cost by stamp, unix µs. The rules for stamps are those of the list in
-- parts/window.lua. The names make an admission sticky for its call.
-- NEEDS now: call, now; int: int; limit: chunks, lead, ttl
local log = {}

-- newest returns the newest stamp, nil of an empty log.
function log.newest(limit)
  local found = call('ZREVRANGE', limit.key, 0, 0, 'WITHSCORES')
  return found[2] and found[2] + 0
end

-- repair shifts the log back by what its newest stamp is too far ahead of the clock.
function log.repair(limit)
  local ahead = limit.newest + 1 - now - lead(limit.window)
  if ahead <= 0 then return end
  if limit.peek then
    limit.ahead, limit.newest = ahead, limit.newest - ahead
    return
  end
  local all, kept = call('ZRANGE', limit.key, 0, -1, 'WITHSCORES'), {}
  for i = 1, #all, 2 do
    local stamp = all[i + 1] - ahead
    if stamp > now - limit.window then
      kept[#kept + 1], kept[#kept + 2] = int(stamp), all[i]
    end
  end
  limit.newest = limit.newest - ahead
  call('DEL', limit.key)
  chunks(kept, function(...) call('ZADD', limit.key, ...) end)
  call('PEXPIRE', limit.key, ttl(limit.newest, limit.window))
end

-- read finds the permit that would be one too many: the cost passes when it is dead.
function log.read(limit)
  limit.ahead, limit.wait, limit.newest = 0, 0, log.newest(limit)
  if not limit.newest then return end
  log.repair(limit)
  local n = int(limit.quota - limit.cost)
  local bar = call('ZREVRANGE', limit.key, n, n, 'WITHSCORES')[2]
  if not bar then return end
  bar = bar - limit.ahead
  if bar > now - limit.window then limit.wait = bar + limit.window - now end
end

-- look tells what remains if nothing is spent.
function log.look(limit)
  local edge = now - limit.window + limit.ahead
  local live = math.min(call('ZCOUNT', limit.key, '(' .. int(edge), '+inf'), limit.quota)
  limit.remaining, limit.reset, limit.stamp = limit.quota - live, 0, 0
  if live > 0 then
    local n = int(live - 1)
    local oldest = call('ZREVRANGE', limit.key, n, n, 'WITHSCORES')[2]
    limit.reset = oldest - limit.ahead + limit.window - now
  end
end

-- spend adds the permits of this call.
function log.spend(limit)
  local stamp = now
  if limit.newest and limit.newest >= now then stamp = limit.newest + 1 end
  call('ZREMRANGEBYSCORE', limit.key, '-inf', int(now - limit.window))
  local named, score = {}, int(stamp)
  for i = 1, limit.cost do
    named[2 * i - 1], named[2 * i] = score, limit.call .. '#' .. int(i)
  end
  chunks(named, function(...) call('ZADD', limit.key, ...) end)
  if not limit.newest or limit.newest < stamp - stamp % limit.window then
    call('PEXPIRE', limit.key, ttl(stamp, limit.window))
  end
  log.look(limit)
  limit.stamp = stamp
end

-- admitted returns when the call was admitted, if it still counts, and whether that was
-- for another cost.
function log.admitted(limit)
  local stamp = call('ZSCORE', limit.key, limit.call .. '#1')
  if not stamp or stamp + 0 <= now - limit.window then return nil end
  local odd = true
  if call('ZSCORE', limit.key, limit.call .. '#' .. int(limit.cost)) then
    local beyond = call('ZSCORE', limit.key, limit.call .. '#' .. int(limit.cost + 1))
    if not beyond then odd = false end
  end
  return stamp + 0, odd
end

-- refund removes the permits of this admission. A call that came again after the window
-- was charged again, and keeps what it was charged then.
function log.refund(limit)
  local stamp = call('ZSCORE', limit.key, limit.call .. '#1')
  if not stamp or stamp + 0 ~= limit.stamp then return 0 end
  if limit.stamp <= now - limit.window then return 0 end
  local named = {}
  for i = 1, limit.cost do named[i] = limit.call .. '#' .. int(i) end
  return call('ZREM', limit.key, unpack(named))
end
