-- session_pop: take one value out of a session that lives.
-- PARTS    now, int, session, session_open
-- KEYS[1]  record   hash; see SessionRecord in package store
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms; not passed for a
--                   guest
-- KEYS[3]  epoch    string, unix µs: the user's sessions stamped before it are dead; not
--                   passed for a guest
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  all      the global epoch as the caller knows it, unix µs, 0 for none
-- ARGV[3]  name     of the value
-- RETURNS  {status, now ms, found 0|1, value}, strings
-- EXPIRES  as before
-- COST     5 commands; of a guest 4
-- RETRY    unsafe: the second run does not find what the first took
local session, status = open(ARGV[2] + 0)
if not session then return {int(status), int(ms), '0', ''} end
local value = call('HGET', record, ARGV[3])
if not value then return {int(OK), int(ms), '0', ''} end
call('HDEL', record, ARGV[3])
return {int(OK), int(ms), '1', value}
