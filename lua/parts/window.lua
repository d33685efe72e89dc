-- window: SlidingWindow, the exact log. The key is a list of admission stamps, unix µs,
-- one a permit, oldest first. A permit counts in [stamp, stamp + window). Stamps of a key
-- rise strictly from one decision to the next, so that a stamp names its decision. None
-- lies further ahead of the clock than lead: one that does shows that the clock stepped
-- back.
-- NEEDS now: call, now; int: int; limit: chunks, era, lead, trace, ttl
local window = {}

-- at returns the stamp of the nth newest permit, if that permit is live. ahead is what a
-- peek, which repairs nothing, subtracts.
function window.at(limit, n)
  local stamp = call('LINDEX', limit.key, int(-n))
  stamp = stamp and stamp % era - limit.ahead
  return stamp and stamp > limit.edge and stamp
end

-- repair shifts the log back by what its newest stamp is too far ahead, and reports
-- whether it did. The clock fell at least that much since the stamps were written, so no
-- permit comes to lie before its use. Without a repair, a clock that is set back an hour
-- denies for that hour.
function window.repair(limit)
  local ahead = limit.newest + 1 - now - lead(limit.window)
  if ahead <= 0 then return false end
  limit.newest = limit.newest - ahead
  if limit.peek then
    limit.ahead = ahead
    return true
  end
  local kept = {}
  limit.era = (limit.era + era) % (3 * era)
  for _, stamp in ipairs(call('LRANGE', limit.key, 0, -1)) do
    stamp = stamp % era - ahead
    if stamp > limit.edge then kept[#kept + 1] = int(stamp + limit.era) end
  end
  call('DEL', limit.key)
  chunks(kept, function(...) call('RPUSH', limit.key, ...) end)
  call('PEXPIRE', limit.key, ttl(limit.newest, limit.window))
  return true
end

-- read finds the permit that would be one too many: the cost passes when it is dead.
-- While that permit is live and in the past, the newest needs no look: no clock that
-- wrote the newest can have been further ahead than the caller has to wait anyway.
function window.read(limit)
  limit.ahead, limit.era, limit.edge = 0, 0, now - limit.window
  limit.bar = window.at(limit, limit.quota - limit.cost + 1)
  if not (limit.bar and limit.bar <= now) then
    limit.newest = call('LINDEX', limit.key, -1)
    if limit.newest then
      limit.era = limit.newest - limit.newest % era
      limit.newest = limit.newest - limit.era
      if window.repair(limit) then
        limit.bar = window.at(limit, limit.quota - limit.cost + 1)
      end
    end
  end
  limit.wait = limit.bar and limit.bar - limit.edge or 0
end

-- live counts the live permits, known to be at least least and at most most, and finds
-- the oldest of them. oldest is the stamp of the permit with the number least, counted
-- from the newest, when least is not 0.
function window.live(limit, least, most, oldest)
  while most - least > 64 do
    local middle = math.ceil((least + most) / 2)
    local stamp = window.at(limit, middle)
    if stamp then least, oldest = middle, stamp else most = middle - 1 end
  end
  if most > least then
    local found = call('LRANGE', limit.key, int(-most), int(-least - 1))
    for i, stamp in ipairs(found) do
      stamp = stamp % era - limit.ahead
      if stamp > limit.edge then return least + #found - i + 1, stamp end
    end
  end
  return least, oldest
end

-- front is live for a log of which nothing is known. Few permits are dead, so it looks at
-- the oldest first.
function window.front(limit)
  local length = call('LLEN', limit.key)
  local found = call('LRANGE', limit.key, 0, 4)
  for i, stamp in ipairs(found) do
    stamp = stamp % era - limit.ahead
    if stamp > limit.edge then return length - i + 1, stamp end
  end
  return window.live(limit, 0, length - #found)
end

-- look tells what remains if nothing is spent.
function window.look(limit)
  local live, oldest
  if limit.wait > 0 then
    local least = limit.quota - limit.cost + 1
    live, oldest = window.live(limit, least, limit.quota, limit.bar)
  elseif limit.newest then
    live, oldest = window.front(limit)
  else
    live = 0
  end
  limit.remaining, limit.stamp = limit.quota - live, 0
  limit.reset = oldest and oldest - limit.edge or 0
end

-- spend drops the dead first, so that the length of the list is the number of the live.
function window.spend(limit)
  local stamp, live, oldest = now, 0, nil
  if limit.newest and limit.newest > limit.edge then
    if limit.newest >= now then stamp = limit.newest + 1 end
    oldest = call('LINDEX', limit.key, 0) % era
    if oldest <= limit.edge then
      live, oldest = window.front(limit)
      call('LTRIM', limit.key, int(-live), -1)
    end
  elseif limit.newest then
    call('DEL', limit.key)
    -- A stamp that died a moment ago may be one that a reset left to name its era.
    if limit.newest <= limit.edge - lead(limit.window) then limit.era = 0 end
    limit.newest = nil
  end
  local word = int(stamp + limit.era)
  if limit.cost == 1 then
    live = call('RPUSH', limit.key, word)
  else
    local stamps = {}
    for i = 1, limit.cost do stamps[i] = word end
    chunks(stamps, function(...) live = call('RPUSH', limit.key, ...) end)
  end
  if not limit.newest or limit.newest < stamp - stamp % limit.window then
    call('PEXPIRE', limit.key, ttl(stamp, limit.window))
  end
  limit.remaining, limit.stamp = limit.quota - live, stamp + limit.era
  limit.reset = (oldest or stamp) - limit.edge
end

-- refund removes the permits that bear the stamp, and no others: the log stays what it
-- would be without them. A stamp that is expired, trimmed or shifted finds nothing.
function window.refund(limit)
  if limit.stamp % era <= now - limit.window then return 0 end
  local given = call('LREM', limit.key, int(-limit.cost), int(limit.stamp))
  if given > 0 and limit.stamp >= era and call('LLEN', limit.key) == 0 then
    trace(limit.key, limit.window, limit.stamp - limit.stamp % era)
  end
  return given
end
