-- session: what all session scripts share. The statuses are those of SessionStatus in session.go.
local OK, GONE, SUPERSEDED, REPLAY, BADTYPE, STALE, CAP, CONFLICT, NOTDUE, PREVIOUS = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10

-- Sessions count in ms; epochs in µs, as now does: a login in the ms of an epoch is before or after it.
local ms = math.floor(now / 1000)

-- slack is how far ahead of the clock a stored instant may lie, ms; further means that the clock stepped back. It is part of
-- the layout, and of session.go.
local slack = 5000

-- marked is how long a marker stays, ms.
local marked = 10000

-- int renders a whole number for a Redis command: tostring and .. keep 14 digits only.
local function int(n)
  return format('%.0f', n)
end

-- parse reads the fields !m, !t and !e of a record: id, creation, absolute deadline, idle time, last seen, and the user's and
-- the global epoch; nil if there is no session in them. A later version may append to them.
local function parse(m, t, e)
  if not (m and t and e) then return nil end
  local id, created, abs, idle = string.match(m, '^([^.]+)%.(%d+)%.(%d+)%.(%d+)')
  local user, all = string.match(e, '^(%d+)%.(%d+)')
  local seen = tonumber(t)
  if not (id and user and seen) then return nil end
  return id, created + 0, abs + 0, idle + 0, seen, user + 0, all + 0
end

-- decode is parse as a table.
local function decode(m, t, e)
  local id, created, abs, idle, seen, user, all = parse(m, t, e)
  return id and {id = id, created = created, abs = abs, idle = idle, seen = seen, user = user, all = all}
end

-- expiry is when a session ends unless it is seen again.
local function expiry(s)
  return math.min(s.abs, s.seen + s.idle)
end

-- outdated tells whether an epoch has ended a session.
local function outdated(s, user, all)
  return user > s.user or all > s.all
end

-- ended tells whether a session is dead, by its own deadlines (keys may outlive their TTL) or by an epoch.
local function ended(s, user, all)
  return ms >= expiry(s) or outdated(s, user, all)
end

-- epoch reads an epoch; none is 0.
local function epoch(key)
  return tonumber(key and call('GET', key) or 0) or 0
end

-- mark leaves a marker where a session was: its own browser ended it. DEL comes first also where nothing is, because
-- a full memory denies HSET to a script that has not written yet.
local function mark(key)
  call('DEL', key)
  call('HSET', key, '!g', '1')
  call('PEXPIRE', key, int(marked))
end

-- outlive gives an index the TTL of its last member.
local function outlive(index)
  local top = call('ZRANGE', index, -1, -1, 'WITHSCORES')
  if top[2] then call('PEXPIRE', index, int(math.max(top[2] - ms, 1))) end
end

-- tell publishes an event. It comes last and cannot fail the script: without permission for the channel PUBLISH raises, and
-- Redis would keep what was written and report an error.
local function tell(channel, kind, id, user, member, reason)
  redis.pcall('PUBLISH', channel, table.concat({kind, id, user, member, reason, int(ms)}, ' '))
end

-- tail is the last part of a key: a member (32) or the hash of a user (22); '-' when there is no key.
local function tail(key, length)
  return key and string.sub(key, -length) or '-'
end
