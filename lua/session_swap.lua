-- session_swap: change one value of a session that lives, if it is what the caller read.
-- PARTS    now, int, session, session_open
-- KEYS[1]  record   hash; see SessionRecord in package store
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms; not passed for a
--                   guest
-- KEYS[3]  epoch    string, unix µs: the user's sessions stamped before it are dead; not
--                   passed for a guest
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  all      the global epoch as the caller knows it, unix µs, 0 for none
-- ARGV[3]  name     of the value
-- ARGV[4]  present  1 if the caller has read a value, 0 if there was none
-- ARGV[5]  old      the value read
-- ARGV[6]  new      the value to set
-- RETURNS  {status, now ms, found 0|1, value found}, strings
-- EXPIRES  as before
-- COST     5 commands; of a guest 4
-- RETRY    unsafe: the second run reports a conflict with the first
local session, status = open(ARGV[2] + 0)
if not session then return {int(status), int(ms), '0', ''} end
local value = call('HGET', record, ARGV[3])
local found = value and '1' or '0'
if found ~= ARGV[4] or value and value ~= ARGV[5] then
  return {int(CONFLICT), int(ms), found, value or ''}
end
call('HSET', record, ARGV[3], ARGV[6])
return {int(OK), int(ms), found, value or ''}
