-- session: what all session scripts share. The statuses are those of SessionStatus in
-- package store.
-- NEEDS now: call, now; int: int
local OK, GONE, SUPERSEDED, REPLAY, BADTYPE = 1, 2, 3, 4, 5
local STALE, CAP, CONFLICT, NOTDUE, PREVIOUS = 6, 7, 8, 9, 10

-- Sessions count in ms. Epochs count in µs, as now does, so that a login in the ms of an
-- epoch is before or after it.
local ms = math.floor(now / 1000)

-- slack is how far ahead of the clock a stored instant may lie, ms. One further ahead
-- shows that the clock stepped back. It is part of the layout, and SessionClockBack in
-- package store.
local slack = 5000

-- parse reads the fields !m, !t and !e of a record: id, creation, absolute deadline, idle
-- time, last seen, and the user's and the global epoch. It returns nil if no session is
-- in them. A later version may append to them.
local function parse(meta, last, epochs)
  if not (meta and last and epochs) then return nil end
  local id, created, abs, idle = string.match(meta, '^([^.]+)%.(%d+)%.(%d+)%.(%d+)')
  local user, all = string.match(epochs, '^(%d+)%.(%d+)')
  local seen = tonumber(last)
  if not (id and user and seen) then return nil end
  return id, created + 0, abs + 0, idle + 0, seen, user + 0, all + 0
end

-- decode is parse as a table.
local function decode(meta, last, epochs)
  local id, created, abs, idle, seen, user, all = parse(meta, last, epochs)
  if not id then return nil end
  return {
    id = id, created = created, abs = abs, idle = idle, seen = seen,
    user = user, all = all,
  }
end

-- encode renders the field !m of a session.
local function encode(session)
  return session.id .. '.' .. int(session.created) .. '.' .. int(session.abs) .. '.' ..
    int(session.idle)
end

-- expiry is when a session ends unless it is seen again.
local function expiry(session)
  return math.min(session.abs, session.seen + session.idle)
end

-- outdated tells whether an epoch has ended a session.
local function outdated(session, user, all)
  return user > session.user or all > session.all
end

-- epoch reads an epoch; none is 0.
local function epoch(key)
  return tonumber(key and call('GET', key) or 0) or 0
end

-- outlive gives an index the TTL of its last member.
local function outlive(index)
  local top = call('ZRANGE', index, -1, -1, 'WITHSCORES')
  if top[2] then call('PEXPIRE', index, int(math.max(top[2] - ms, 1))) end
end

-- tell publishes an event. It comes last and cannot fail the script: without permission
-- for the channel PUBLISH raises, and Redis would keep what was written and report an
-- error.
local function tell(channel, kind, id, user, member, reason)
  local event = table.concat({kind, id, user, member, reason, int(ms)}, ' ')
  redis.pcall('PUBLISH', channel, event)
end

-- tail is the last part of a key: a member (32) or the hash of a user (22). It is '-'
-- when there is no key.
local function tail(key, length)
  return key and string.sub(key, -length) or '-'
end
