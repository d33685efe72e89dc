-- window: SlidingWindow, the exact log. A list of admission stamps, unix µs, one a permit, oldest first. A permit counts
-- in [stamp, stamp + window). Stamps of a key rise strictly from one decision to the next, so that a stamp names its
-- decision, and none lies further ahead of the clock than lead: what does shows that the clock stepped back.
local window = {}

-- at returns the stamp of the nth newest permit, if it is live. ahead is what a peek, which repairs nothing, subtracts.
function window.at(l, n)
  local s = call('LINDEX', l.key, int(-n))
  s = s and s % era - l.ahead
  return s and s > l.edge and s
end

-- repair shifts the log back by what its newest stamp is too far ahead, and reports whether it did. The clock fell at least
-- that much since the stamps were written, so none comes to lie before its use. Without it a clock set back an hour denies
-- for that hour.
function window.repair(l)
  local ahead = l.newest + 1 - now - lead(l.window)
  if ahead <= 0 then return false end
  l.newest = l.newest - ahead
  if l.peek then
    l.ahead = ahead
    return true
  end
  local kept = {}
  l.era = (l.era + era) % (3 * era)
  for _, s in ipairs(call('LRANGE', l.key, 0, -1)) do
    s = s % era - ahead
    if s > l.edge then kept[#kept + 1] = int(s + l.era) end
  end
  call('DEL', l.key)
  chunks(kept, function(...) call('RPUSH', l.key, ...) end)
  call('PEXPIRE', l.key, ttl(l.newest, l.window))
  return true
end

-- read: the cost passes when the permit that would be one too many is dead. While that one is live and in the past, the
-- newest needs no look: no clock that wrote it can have been further ahead than the caller has to wait anyway.
function window.read(l)
  l.ahead, l.era, l.edge = 0, 0, now - l.window
  l.bar = window.at(l, l.quota - l.cost + 1)
  if not (l.bar and l.bar <= now) then
    l.newest = call('LINDEX', l.key, -1)
    if l.newest then
      l.era = l.newest - l.newest % era
      l.newest = l.newest - l.era
      if window.repair(l) then l.bar = window.at(l, l.quota - l.cost + 1) end
    end
  end
  l.wait = l.bar and l.bar - l.edge or 0
end

-- live counts the live permits, known to be at least lo and at most hi, and finds the oldest of them; oldest is the stamp of
-- the loth newest, when lo is not 0.
function window.live(l, lo, hi, oldest)
  while hi - lo > 64 do
    local mid = math.ceil((lo + hi) / 2)
    local s = window.at(l, mid)
    if s then lo, oldest = mid, s else hi = mid - 1 end
  end
  if hi > lo then
    local found = call('LRANGE', l.key, int(-hi), int(-lo - 1))
    for i, s in ipairs(found) do
      s = s % era - l.ahead
      if s > l.edge then return lo + #found - i + 1, s end
    end
  end
  return lo, oldest
end

-- front is live for a log of which nothing is known: few are dead, so it looks at the oldest first.
function window.front(l)
  local length = call('LLEN', l.key)
  local found = call('LRANGE', l.key, 0, 4)
  for i, s in ipairs(found) do
    s = s % era - l.ahead
    if s > l.edge then return length - i + 1, s end
  end
  return window.live(l, 0, length - #found)
end

-- look: what remains if nothing is spent.
function window.look(l)
  local live, oldest
  if l.wait > 0 then
    live, oldest = window.live(l, l.quota - l.cost + 1, l.quota, l.bar)
  elseif l.newest then
    live, oldest = window.front(l)
  else
    live = 0
  end
  l.remaining, l.stamp = l.quota - live, 0
  l.reset = oldest and oldest - l.edge or 0
end

-- spend drops the dead first, so that the length is what lives.
function window.spend(l)
  local s, live, oldest = now, 0, nil
  if l.newest and l.newest > l.edge then
    if l.newest >= now then s = l.newest + 1 end
    oldest = call('LINDEX', l.key, 0) % era
    if oldest <= l.edge then
      live, oldest = window.front(l)
      call('LTRIM', l.key, int(-live), -1)
    end
  elseif l.newest then
    call('DEL', l.key)
    -- A stamp that died a moment ago may be what a reset left for the sake of its era.
    if l.newest <= l.edge - lead(l.window) then l.era = 0 end
    l.newest = nil
  end
  if l.cost == 1 then
    live = call('RPUSH', l.key, int(s + l.era))
  else
    local stamps, stamp = {}, int(s + l.era)
    for i = 1, l.cost do stamps[i] = stamp end
    chunks(stamps, function(...) live = call('RPUSH', l.key, ...) end)
  end
  if not l.newest or l.newest < s - s % l.window then
    call('PEXPIRE', l.key, ttl(s, l.window))
  end
  l.remaining, l.stamp = l.quota - live, s + l.era
  l.reset = (oldest or s) - l.edge
end

-- refund removes the permits that bear the stamp, and no others: the log stays what it would be without them. A stamp
-- that is expired, trimmed or shifted finds nothing.
function window.refund(l)
  if l.stamp % era <= now - l.window then return 0 end
  local given = call('LREM', l.key, int(-l.cost), int(l.stamp))
  if given > 0 and l.stamp >= era and call('LLEN', l.key) == 0 then
    trace(l.key, l.window, l.stamp - l.stamp % era)
  end
  return given
end
