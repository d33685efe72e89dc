-- session_drop: end one session, whatever its state.
-- PARTS    now, int, session, session_mark
-- KEYS[1]  record   hash; see SessionRecord in package store
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms; not passed for a
--                   guest
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  marker   1: leave word that the browser itself ended it
-- ARGV[3]  reason   a-z, for the event
-- ARGV[4]  channel  of the events
-- RETURNS  {status, now ms}; GONE if there was no session
-- EXPIRES  the marker, after 10 s
-- COST     4 to 7 commands
-- RETRY    safe: what is gone is gone
local record, index = KEYS[1], KEYS[2]
local session = decode(unpack(call('HMGET', record, '!m', '!t', '!e')))
if ARGV[2] == '1' then
  -- The marker stays also where nothing is: a guest that expired while its browser logged
  -- in must not be minted anew by a request in flight.
  mark(record)
else
  call('DEL', record)
end
if index then call('ZREM', index, tail(record, 32)) end
if not session then return {GONE, ms} end
tell(ARGV[4], 'revoked', session.id, tail(index, 22), tail(record, 32), ARGV[3])
return {OK, ms}
