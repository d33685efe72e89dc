-- session_confirm: decide what a token is that seems not to be the current one.
-- PARTS    now, int, session, session_open, session_token
-- KEYS[1]  record   hash; see SessionRecord in package store
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms; not passed for a
--                   guest
-- KEYS[3]  epoch    string, unix µs: the user's sessions stamped before it are dead; not
--                   passed for a guest
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  all      the global epoch as the caller knows it, unix µs, 0 for none
-- ARGV[3]  hash     of the token presented
-- ARGV[4]  grace    ms for which the previous token is accepted still
-- ARGV[5]  replay   revoke: one ends the session; refuse: it is told only; ignore:
--                   neither
-- ARGV[6]  channel  of the events
-- RETURNS  {status, now ms, authenticated ms, level}
-- EXPIRES  as before
-- COST     8 commands for a successor, 9 for an elevated one, 5 else; of a guest 1 less
-- RETRY    safe: the second run finds the token current, or the session gone
local session, status = open(ARGV[2] + 0)
if not session then return {status, ms, 0, 0} end
local tokens, grace, replay, channel = read_tokens(), ARGV[4] + 0, ARGV[5], ARGV[6]
status = standing(tokens, ARGV[3], grace)
if status == REPLAY then
  local done = 'refused'
  if replay == 'revoke' then
    done = 'revoked'
    call('DEL', record)
    if index then call('ZREM', index, member) end
  end
  if replay ~= 'ignore' then tell(channel, 'replayed', session.id, user, member, done) end
  return {REPLAY, ms, 0, 0}
end
-- The first use of a successor makes it the current token.
local confirmed = status == NOTDUE
if confirmed then
  confirm(tokens)
  status = OK
end
local auth, level = string.match(call('HGET', record, '!a') or '', '^(%d+)%.(%d+)')
if confirmed then tell(channel, 'rotated', session.id, user, member, 'confirmed') end
return {status, ms, (auth or 0) + 0, (level or 0) + 0}
