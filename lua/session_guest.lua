-- session_guest: make a session of a visitor who is not logged in.
-- PARTS    now, int, session, session_new
-- KEYS[1]  record   hash; see SessionRecord in package store
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  all      the global epoch as known when the request began, unix µs, 0 for none
-- ARGV[3]  channel  of the events
-- ARGV[4]  id       public id
-- ARGV[5]  token    hash of the token
-- ARGV[6]  idle     ms, > 0
-- ARGV[7]  life     ms, > 0
-- ARGV[8+]          name and value of each further field
-- RETURNS  {status, now ms}
-- EXPIRES  record, at its idle or its absolute deadline
-- COST     6 commands
-- RETRY    safe: the series is random, so a second run finds the record of the first
local record, id = KEYS[1], ARGV[4]
local there = call('HMGET', record, '!m', '!g')
if there[1] then return {OK, ms} end
-- It was ended between two runs of one call.
if there[2] then return {GONE, ms} end
write(record, begin(id, ARGV[6] + 0, ARGV[7] + 0), '0.' .. ARGV[2], ARGV[5], 8)
tell(ARGV[3], 'created', id, '-', tail(record, 32), 'guest')
return {OK, ms}
