-- session_rotate: offer a successor of the current token, the same to everybody who asks.
-- PARTS    now, int, session, session_open, session_token
-- KEYS[1]  record   hash; see SessionRecord in package store
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms; not passed for a
--                   guest
-- KEYS[3]  epoch    string, unix µs: the user's sessions stamped before it are dead; not
--                   passed for a guest
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  all      the global epoch as the caller knows it, unix µs, 0 for none
-- ARGV[3]  hash     of the token presented
-- ARGV[4]  grace    ms: an offer neither taken nor handed out for longer is replaced
-- ARGV[5]  nonce    integer, 1 .. 2^52, from which the successor is derived
-- ARGV[6]  next     hash of the successor
-- RETURNS  {status, now ms, nonce of the successor on offer, handed out ms}
-- EXPIRES  as before
-- COST     5 commands, 6 when an elevation was lost; of a guest 1 less
-- RETRY    safe: the second run finds the offer of the first
local session, status = open(ARGV[2] + 0)
if not session then return {status, ms, 0, 0} end
local tokens, grace = read_tokens(), ARGV[4] + 0
status = standing(tokens, ARGV[3], grace)
if status ~= OK then return {status, ms, 0, 0} end
if fresh(tokens, grace) then
  -- The secret of an elevated successor is known to one response only.
  if tokens.nonce == 0 then return {NOTDUE, ms, 0, 0} end
  -- Its age counts from when it was last handed out. Counted from the first time, two
  -- requests at the border of the grace get different successors, and if the older one
  -- arrives last, the browser presents what looks like a replay.
  call('HSET', record, '!y', int(ms))
  return {OK, ms, tokens.nonce, ms}
end
call('HSET', record, '!q', ARGV[6], '!w', ARGV[5], '!y', int(ms))
if tokens.elevation then call('HDEL', record, '!v') end
return {OK, ms, ARGV[5] + 0, ms}
