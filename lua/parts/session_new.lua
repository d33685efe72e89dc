-- session_new: the record of a session that begins.
-- NEEDS now: call; int: int; session: encode, expiry, ms

-- begin returns a session that begins now.
local function begin(id, idle, life)
  return {id = id, created = ms, abs = ms + life, idle = idle, seen = ms}
end

-- write writes the record of a session: the epochs and the token, the fields that are
-- passed, and the arguments from the nth on as further fields. HSET comes first: when
-- memory is full Redis refuses it, and nothing is changed. After any other write it would
-- pass.
local function write(record, session, epochs, token, n, ...)
  call('HSET', record, '!m', encode(session), '!t', int(session.seen), '!e', epochs,
    '!s', token, ...)
  for i = n, #ARGV, 1000 do
    call('HSET', record, unpack(ARGV, i, math.min(i + 999, #ARGV)))
  end
  call('PEXPIRE', record, int(expiry(session) - ms))
end
