-- session_elevate: offer a fresh token that brings a level of authentication once it is presented.
-- KEYS[1]  record   hash; see SessionRecord in session_record.go
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms; not passed for a guest
-- KEYS[3]  epoch    string, unix µs: the user's sessions stamped before it are dead; not passed for a guest
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  all      the global epoch as the caller knows it, unix µs, 0 for none
-- ARGV[3]  hash     of the token presented
-- ARGV[4]  grace    ms: an offer not taken for longer is replaced, a fresher one becomes current
-- ARGV[5]  next     hash of the new token
-- ARGV[6]  level    of authentication, >= 0
-- ARGV[7]  channel  of the events
-- RETURNS  {status, now ms, authenticated ms}
-- EXPIRES  as before
-- COST     5 commands, up to 10 when an offer was fresh; of a guest 1 less
-- RETRY    safe: the second run finds the token on offer, or current
local s, status = open(ARGV[2] + 0)
if not s then return {status, ms, 0} end
local k, grace, next = tokens(), ARGV[4] + 0, ARGV[5]
if next == k.current or next == k.pending then
  local auth = string.match(next == k.pending and k.elevation or call('HGET', record, '!a') or '', '^(%d+)')
  return {OK, ms, (auth or ms) + 0}
end
status = standing(k, ARGV[3], grace)
if status ~= OK and status ~= NOTDUE then return {status, ms, 0} end
-- A double click elevates twice, and a rotation may be on offer: browsers have those tokens by now, or will.
local confirmed = status == NOTDUE or fresh(k, grace)
if confirmed then confirm(k) end
call('HSET', record, '!q', next, '!y', int(ms), '!v', int(ms) .. '.' .. ARGV[6])
if k.nonce ~= 0 then call('HDEL', record, '!w') end
if confirmed then tell(ARGV[7], 'rotated', s.id, user, member, 'elevated') end
return {OK, ms, ms}
