-- session_elevate: offer a fresh token that brings a level once it is presented.
-- PARTS    now, int, session, session_open, session_token
-- KEYS[1]  record   hash; see SessionRecord in package store
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms; not passed for a
--                   guest
-- KEYS[3]  epoch    string, unix µs: the user's sessions stamped before it are dead; not
--                   passed for a guest
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  all      the global epoch as the caller knows it, unix µs, 0 for none
-- ARGV[3]  hash     of the token presented
-- ARGV[4]  grace    ms: an offer not taken for longer is replaced, a fresher one becomes
--                   current
-- ARGV[5]  next     hash of the new token
-- ARGV[6]  level    of authentication, >= 0
-- ARGV[7]  channel  of the events
-- RETURNS  {status, now ms, authenticated ms}
-- EXPIRES  as before
-- COST     5 commands, up to 10 when an offer was fresh; of a guest 1 less
-- RETRY    safe: the second run finds the token on offer, or current
local session, status = open(ARGV[2] + 0)
if not session then return {status, ms, 0} end
local tokens, grace, next = read_tokens(), ARGV[4] + 0, ARGV[5]
if next == tokens.current or next == tokens.pending then
  -- This is a second run, or the token was used since.
  local auth = next == tokens.pending and tokens.elevation
  if not auth then auth = call('HGET', record, '!a') end
  auth = string.match(auth or '', '^(%d+)')
  return {OK, ms, (auth or ms) + 0}
end
status = standing(tokens, ARGV[3], grace)
if status ~= OK and status ~= NOTDUE then return {status, ms, 0} end
-- A double click elevates twice, and a rotation may be on offer: browsers have those
-- tokens by now, or will.
local confirmed = status == NOTDUE or fresh(tokens, grace)
if confirmed then confirm(tokens) end
call('HSET', record, '!q', next, '!y', int(ms), '!v', int(ms) .. '.' .. ARGV[6])
if tokens.nonce ~= 0 then call('HDEL', record, '!w') end
if confirmed then tell(ARGV[7], 'rotated', session.id, user, member, 'elevated') end
return {OK, ms, ms}
