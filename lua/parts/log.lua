-- log: SlidingLog, the exact log with names. A sorted set of <call>#1 ... <call>#cost by stamp, unix µs. The rules for
-- stamps are those of the list in parts/window.lua; the names make an admission sticky for its call.
local log = {}

function log.newest(l)
  local found = call('ZREVRANGE', l.key, 0, 0, 'WITHSCORES')
  return found[2] and found[2] + 0
end

function log.repair(l)
  local ahead = l.newest + 1 - now - lead(l.window)
  if ahead <= 0 then return end
  if l.peek then
    l.ahead, l.newest = ahead, l.newest - ahead
    return
  end
  local all, kept = call('ZRANGE', l.key, 0, -1, 'WITHSCORES'), {}
  for i = 1, #all, 2 do
    local s = all[i + 1] - ahead
    if s > now - l.window then
      kept[#kept + 1], kept[#kept + 2] = int(s), all[i]
    end
  end
  l.newest = l.newest - ahead
  call('DEL', l.key)
  chunks(kept, function(...) call('ZADD', l.key, ...) end)
  call('PEXPIRE', l.key, ttl(l.newest, l.window))
end

function log.read(l)
  l.ahead, l.wait, l.newest = 0, 0, log.newest(l)
  if not l.newest then return end
  log.repair(l)
  local n = int(l.quota - l.cost)
  local bar = call('ZREVRANGE', l.key, n, n, 'WITHSCORES')[2]
  bar = bar and bar - l.ahead
  if bar and bar > now - l.window then l.wait = bar + l.window - now end
end

function log.look(l)
  local live = math.min(call('ZCOUNT', l.key, '(' .. int(now - l.window + l.ahead), '+inf'), l.quota)
  l.remaining, l.reset, l.stamp = l.quota - live, 0, 0
  if live > 0 then
    local oldest = call('ZREVRANGE', l.key, int(live - 1), int(live - 1), 'WITHSCORES')[2]
    l.reset = oldest - l.ahead + l.window - now
  end
end

function log.spend(l)
  local s = l.newest and l.newest >= now and l.newest + 1 or now
  call('ZREMRANGEBYSCORE', l.key, '-inf', int(now - l.window))
  local named, stamp = {}, int(s)
  for i = 1, l.cost do
    named[2 * i - 1], named[2 * i] = stamp, l.call .. '#' .. int(i)
  end
  chunks(named, function(...) call('ZADD', l.key, ...) end)
  if not l.newest or l.newest < s - s % l.window then
    call('PEXPIRE', l.key, ttl(s, l.window))
  end
  log.look(l)
  l.stamp = s
end

-- stamp returns when the call was admitted, if it still counts; odd is true when that was for another cost.
function log.admitted(l)
  local s = call('ZSCORE', l.key, l.call .. '#1')
  if not s or s + 0 <= now - l.window then return nil end
  local odd = not call('ZSCORE', l.key, l.call .. '#' .. int(l.cost)) or call('ZSCORE', l.key, l.call .. '#' .. int(l.cost + 1))
  return s + 0, odd and true
end

-- refund removes the permits of this admission. A call that came again after the window was charged again, and keeps
-- what it was charged then.
function log.refund(l)
  local s = call('ZSCORE', l.key, l.call .. '#1')
  if not s or s + 0 ~= l.stamp or l.stamp <= now - l.window then return 0 end
  local named = {}
  for i = 1, l.cost do named[i] = l.call .. '#' .. int(i) end
  return call('ZREM', l.key, unpack(named))
end
