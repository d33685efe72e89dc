-- session_open: the way into one session. KEYS are the record and, for a user's, the index and the user's epoch.
local record, index = KEYS[1], KEYS[2]
local member, user = tail(record, 32), tail(index, 22)

-- enter writes the index entry of a session, also one that was lost.
local function enter(s)
  if index then
    call('ZADD', index, int(expiry(s)), member)
    outlive(index)
  end
end

-- keep writes when a session was seen. PEXPIRE comes first: a full memory does not deny it, nor HSET after it.
local function keep(s, ...)
  call('PEXPIRE', record, int(expiry(s) - ms))
  call('HSET', record, '!t', int(s.seen), ...)
  enter(s)
end

-- shift moves all instants of a session to where the clock went when it stepped back, so that no deadline gets longer.
local function shift(s, back)
  s.created, s.abs, s.seen = math.max(s.created - back, 0), s.abs - back, ms
  if ms >= expiry(s) then return end
  local changes = {'!m', s.id .. '.' .. int(s.created) .. '.' .. int(s.abs) .. '.' .. int(s.idle)}
  local names = {'!a', '!v', '!y', '!r'}
  for i, value in ipairs(call('HMGET', record, unpack(names))) do
    local instant, rest = string.match(value or '', '^(%d+)(.*)$')
    if instant then
      changes[#changes + 1] = names[i]
      changes[#changes + 1] = int(math.max(instant - back, 0)) .. rest
    end
  end
  keep(s, unpack(changes))
end

-- open returns the session, alive, or nil and why not. What it finds dead it removes.
local function open(all)
  local f = call('HMGET', record, '!m', '!t', '!e', '!g')
  local s = decode(f[1], f[2], f[3])
  if not s then return nil, f[4] and SUPERSEDED or GONE end
  local revoked = outdated(s, epoch(KEYS[3]), all)
  if not revoked and s.seen - ms > slack then shift(s, s.seen - ms) end
  if revoked or ms >= expiry(s) then
    call('DEL', record)
    if index then call('ZREM', index, member) end
    return nil, GONE
  end
  return s
end
