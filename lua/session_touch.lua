-- session_touch: note that a session was seen, and decide whether it lives.
-- PARTS    now, int, session, session_open
-- KEYS[1]  record   hash; see SessionRecord in package store
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms; not passed for a
--                   guest
-- KEYS[3]  epoch    string, unix µs: the user's sessions stamped before it are dead; not
--                   passed for a guest
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  all      the global epoch as the caller knows it, unix µs, 0 for none
-- ARGV[3]  every    ms: seen is written when it is older
-- ARGV[4]  idle     ms: a shorter idle time is raised to it, and seen is written; 0
--                   leaves it
-- RETURNS  {status, now ms, seen ms, absolute deadline ms}
-- EXPIRES  record, at its idle or its absolute deadline; index, with its last member
-- COST     3 commands, 8 when seen is written; of a guest 2 and 4; 10 more, once, after
--          the clock stepped back
-- RETRY    safe: seen and idle only grow
local session, status = open(ARGV[2] + 0)
if not session then return {status, ms, 0, 0} end
if session.idle < ARGV[4] + 0 then
  session.seen, session.idle = math.max(session.seen, ms), ARGV[4] + 0
  keep(session, '!m', encode(session))
elseif ms > session.seen and ms - session.seen >= ARGV[3] + 0 then
  session.seen = ms
  keep(session)
end
return {OK, ms, session.seen, session.abs}
