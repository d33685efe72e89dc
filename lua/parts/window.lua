-- window: SlidingWindow, the exact log. A list of admission stamps, unix µs, one a permit, oldest first. A permit counts
-- in [stamp, stamp + window). Stamps of a key rise strictly from one decision to the next, so that a stamp names its
-- decision, and none lies further ahead of the clock than lead: what does shows that the clock stepped back.
local window = {}

-- repair shifts the log back by what its newest stamp is too far ahead. The clock fell at least that much since the
-- stamps were written, so none comes to lie before its use. Without it a clock set back an hour denies for that hour.
function window.repair(l, newest)
  local ahead = newest + 1 - now - lead(l.window)
  if ahead <= 0 then return end
  if l.peek then
    l.ahead = ahead
    return
  end
  local kept = {}
  for _, s in ipairs(call('LRANGE', l.key, 0, -1)) do
    if s - ahead > now - l.window then kept[#kept + 1] = int(s - ahead) end
  end
  call('DEL', l.key)
  chunks(kept, function(...) call('RPUSH', l.key, ...) end)
  call('PEXPIRE', l.key, ttl(newest - ahead, l.window))
end

-- at returns the stamp of the nth newest permit, if it is live.
function window.at(l, n)
  local s = call('LINDEX', l.key, int(-n))
  s = s and s - l.ahead
  return s and s > now - l.window and s
end

-- read: cost passes when the permit that would be one too many is dead. The newest stamp, and with it the clock, needs no
-- look while that permit is live and in the past: then nothing before it was written by a clock further ahead than the wait.
function window.read(l)
  l.ahead = 0
  l.bar = window.at(l, l.quota - l.cost + 1)
  if not (l.bar and l.bar <= now) then
    local newest = call('LINDEX', l.key, -1)
    if newest then
      window.repair(l, newest + 0)
      l.newest = call('LINDEX', l.key, -1) - l.ahead
      l.bar = window.at(l, l.quota - l.cost + 1)
    end
  end
  l.wait = l.bar and l.bar + l.window - now or 0
end

-- live counts the live permits, known to be at least lo and at most hi, and finds the oldest of them.
-- oldest is the stamp of the permit lo, when lo is not 0.
function window.live(l, lo, hi, oldest)
  while hi - lo > 64 do
    local mid = math.ceil((lo + hi) / 2)
    local s = window.at(l, mid)
    if s then lo, oldest = mid, s else hi = mid - 1 end
  end
  if hi > lo then
    local found = call('LRANGE', l.key, int(-hi), int(-lo - 1))
    for i, s in ipairs(found) do
      if s - l.ahead > now - l.window then
        return lo + #found - i + 1, s - l.ahead
      end
    end
  end
  return lo, oldest
end

-- look: what remains if nothing is spent.
function window.look(l)
  local live, oldest
  if l.wait > 0 then
    live, oldest = window.live(l, l.quota - l.cost + 1, l.quota, l.bar)
  else
    live, oldest = window.live(l, 0, l.quota - l.cost)
  end
  l.remaining, l.stamp = l.quota - live, 0
  l.reset = oldest and oldest + l.window - now or 0
end

-- spend drops the dead first, so that the length is what lives.
function window.spend(l)
  local s = l.newest and l.newest >= now and l.newest + 1 or now
  local live, oldest = window.live(l, 0, l.quota - l.cost)
  if live == 0 then
    call('DEL', l.key)
  else
    call('LTRIM', l.key, int(-live), -1)
  end
  local stamps, stamp = {}, int(s)
  for i = 1, l.cost do stamps[i] = stamp end
  chunks(stamps, function(...) call('RPUSH', l.key, ...) end)
  if live == 0 or l.newest < s - s % l.window then
    call('PEXPIRE', l.key, ttl(s, l.window))
  end
  l.remaining, l.stamp = l.quota - live - l.cost, s
  l.reset = (oldest or s) + l.window - now
end

-- refund removes the permits that bear the stamp, and no others: the log stays what it would be without them. A stamp
-- that is expired, trimmed or shifted finds nothing.
function window.refund(l)
  return call('LREM', l.key, int(-l.cost), int(l.stamp))
end
