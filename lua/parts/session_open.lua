-- session_open: the way into one session. KEYS are the record and, for a user's session,
-- the index and the user's epoch.
-- NEEDS now: call; int: int; session: GONE, SUPERSEDED, decode, encode, epoch, expiry,
--       ms, outdated, outlive, slack, tail
local record, index = KEYS[1], KEYS[2]
local member, user = tail(record, 32), tail(index, 22)

-- enter writes the index entry of a session, also one that was lost.
local function enter(session)
  if index then
    call('ZADD', index, int(expiry(session)), member)
    outlive(index)
  end
end

-- keep writes when a session was seen. PEXPIRE comes first: a full memory does not deny
-- it, nor HSET after it.
local function keep(session, ...)
  call('PEXPIRE', record, int(expiry(session) - ms))
  call('HSET', record, '!t', int(session.seen), ...)
  enter(session)
end

-- shift moves all instants of a session to where the clock went when it stepped back, so
-- that no deadline gets longer.
local function shift(session, back)
  session.created = math.max(session.created - back, 0)
  session.abs, session.seen = session.abs - back, ms
  if ms >= expiry(session) then return end
  local changes = {'!m', encode(session)}
  local names = {'!a', '!v', '!y', '!r'}
  for i, value in ipairs(call('HMGET', record, unpack(names))) do
    local instant, rest = string.match(value or '', '^(%d+)(.*)$')
    if instant then
      changes[#changes + 1] = names[i]
      changes[#changes + 1] = int(math.max(instant - back, 0)) .. rest
    end
  end
  keep(session, unpack(changes))
end

-- open returns the session, alive, or nil and why not. It removes what it finds dead.
local function open(all)
  local fields = call('HMGET', record, '!m', '!t', '!e', '!g')
  local session = decode(fields[1], fields[2], fields[3])
  if not session then return nil, fields[4] and SUPERSEDED or GONE end
  local revoked = outdated(session, epoch(KEYS[3]), all)
  if not revoked and session.seen - ms > slack then shift(session, session.seen - ms) end
  if revoked or ms >= expiry(session) then
    call('DEL', record)
    if index then call('ZREM', index, member) end
    return nil, GONE
  end
  return session
end
