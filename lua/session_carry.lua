-- session_carry: make a session of what another kit left, once: a guest's or a user's.
-- PARTS     now, int, session, session_new, session_cap
-- KEYS[1]   record   hash; see SessionRecord in package store
-- KEYS[2]   carried  string: there if the old session was carried over before
-- KEYS[3]   index    sorted set: the user's sessions by expiry, unix ms; not passed for a
--                    guest
-- KEYS[4]   epoch    string, unix µs: the user's sessions stamped before it are dead; not
--                    passed for a guest
-- KEYS[5]   records  what the keys of the user's records begin with; members are appended
--                    to it; not passed for a guest
-- ARGV[1]   now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]   all      the global epoch as known when the request began, unix µs, 0 for
--                    none
-- ARGV[3]   channel  of the events
-- ARGV[4]   id       public id
-- ARGV[5]   token    hash of the token
-- ARGV[6]   idle     ms, > 0
-- ARGV[7]   life     ms, > 0
-- ARGV[8]   owner    user id, '' for a guest
-- ARGV[9]   level    of authentication, >= 0
-- ARGV[10]  elapsed  µs since the user authenticated, >= 0
-- ARGV[11]  kept     ms that carried is kept, no less than life
-- ARGV[12]  cap      sessions a user may have, 0 .. 100; 0 is unlimited
-- ARGV[13]  policy   at the cap: o ends the oldest, l the one not seen for longest,
--                    r refuses
-- ARGV[14+]          name and value of each further field
-- RETURNS   {status, now ms, user epoch µs, sessions evicted, now µs}
-- EXPIRES   record, at its idle or its absolute deadline; index, with its last member;
--           carried, after kept
-- COST      13 commands, of a guest 8; with a cap 1 more, at the cap 1 for each session
--           of the user and 3 for each one evicted
-- RETRY     safe: the series is derived from the old session, so a second run finds the
--           record of the first
local record, carried, index, records = KEYS[1], KEYS[2], KEYS[3], KEYS[5]
local member, user = tail(record, 32), tail(index, 22)
local channel, id, idle, life = ARGV[3], ARGV[4], ARGV[6] + 0, ARGV[7] + 0
local authenticated = now - ARGV[10]

-- An epoch far ahead of the clock refuses too: nobody has checked the user just now.
local revoked = epoch(KEYS[4])
if revoked > 0 and revoked >= authenticated then return {STALE, ms, revoked, 0, now} end
local there = call('HMGET', record, '!m', '!g')
if there[1] then return {OK, ms, revoked, 0, now} end
if there[2] then return {SUPERSEDED, ms, revoked, 0, now} end
-- What was carried over has ended since. The old session, which nobody ended, must not
-- begin again.
if call('GET', carried) then return {GONE, ms, revoked, 0, now} end

local session, epochs = begin(id, idle, life), int(revoked) .. '.' .. ARGV[2]
if not index then
  write(record, session, epochs, ARGV[5], 14)
  call('SET', carried, '1', 'PX', ARGV[11])
  tell(channel, 'created', id, user, member, 'carried')
  return {OK, ms, revoked, 0, now}
end
local cap, policy, all = ARGV[12] + 0, ARGV[13], ARGV[2] + 0
local dead, evicted = make_room(index, records, cap, policy, {}, revoked, all)
if not dead then return {CAP, ms, revoked, 0, now} end
local auth = int(math.max(math.floor(authenticated / 1000), 0)) .. '.' .. ARGV[9]
write(record, session, epochs, ARGV[5], 14, '!o', ARGV[8], '!a', auth)
call('SET', carried, '1', 'PX', ARGV[11])
enlist(index, records, member, session, dead, evicted)
tell_evicted(channel, user, evicted)
tell(channel, 'created', id, user, member, 'carried')
return {OK, ms, revoked, #evicted, now}
