-- session_rotate: offer a successor of the current token, the same to everybody who asks.
-- KEYS[1]  record   hash; see SessionRecord in session_record.go
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms; not passed for a guest
-- KEYS[3]  epoch    string, unix µs: the user's sessions stamped before it are dead; not passed for a guest
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  all      the global epoch as the caller knows it, unix µs, 0 for none
-- ARGV[3]  hash     of the token presented
-- ARGV[4]  grace    ms: an offer not taken for longer is replaced
-- ARGV[5]  nonce    integer, 1 .. 2^52, from which the successor is derived
-- ARGV[6]  next     hash of the successor
-- RETURNS  {status, now ms, nonce of the successor on offer, offered since ms}
-- EXPIRES  as before
-- COST     4 commands; of a guest 3
-- RETRY    safe: the second run finds the offer of the first
local s, status = open(ARGV[2] + 0)
if not s then return {status, ms, 0, 0} end
local k, grace = tokens(), ARGV[4] + 0
status = standing(k, ARGV[3], grace)
if status ~= OK then return {status, ms, 0, 0} end
if fresh(k, grace) then
  -- The secret of an elevated successor is known to one response only.
  if k.nonce == 0 then return {NOTDUE, ms, 0, 0} end
  return {OK, ms, k.nonce, k.issued}
end
call('HSET', record, '!q', ARGV[6], '!w', ARGV[5], '!y', int(ms))
if k.elevation then call('HDEL', record, '!v') end
return {OK, ms, ARGV[5] + 0, ms}
