-- session_login: make a session of a user, within the user's cap.
-- PARTS     now, int, session, session_new, session_cap
-- KEYS[1]   record   hash; see SessionRecord in package store
-- KEYS[2]   index    sorted set: the user's sessions by expiry, unix ms
-- KEYS[3]   epoch    string, unix µs: the user's sessions stamped before it are dead
-- KEYS[4]   records  what the keys of the user's records begin with; members are appended
--                    to it
-- KEYS[5]   logins   string: the members of the logins from the same older session that
--                    were not settled yet; not passed without an older session
-- ARGV[1]   now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]   all      the global epoch as known when the request began, unix µs, 0 for
--                    none
-- ARGV[3]   channel  of the events
-- ARGV[4]   id       public id
-- ARGV[5]   token    hash of the token
-- ARGV[6]   idle     ms, > 0
-- ARGV[7]   life     ms, > 0
-- ARGV[8]   owner    user id
-- ARGV[9]   level    of authentication, >= 0
-- ARGV[10]  elapsed  µs since the user authenticated, >= 0
-- ARGV[11]  known    the user's epoch that the caller set itself since then, unix µs, 0
--                    for none
-- ARGV[12]  cap      sessions a user may have, 0 .. 100; 0 is unlimited
-- ARGV[13]  policy   at the cap: o ends the oldest, l the one not seen for longest,
--                    r refuses
-- ARGV[14]  replace  member of the user's session that the caller drops next, which does
--                    not count, or ''
-- ARGV[15+]          name and value of each further field
-- RETURNS   {status, now ms, user epoch µs, sessions evicted, now µs}
-- EXPIRES   record, at its idle or its absolute deadline; index, with its last member;
--           logins, when the session has ended unless it was used
-- COST      11 commands; with a cap 1 more, 1 for the session replaced, at the cap 1 for
--           each session of the user and 3 for each one evicted; 2 more from an older
--           session, with a cap 1 for each login from it, and 4 if there are many
-- RETRY     safe: the series is random, so a second run finds the record of the first
local record, index, records, logins = KEYS[1], KEYS[2], KEYS[4], KEYS[5]
local member, user = tail(record, 32), tail(index, 22)
local channel, id, idle, life = ARGV[3], ARGV[4], ARGV[6] + 0, ARGV[7] + 0
local authenticated, replace = now - ARGV[10], ARGV[14]

-- An epoch far ahead of the clock was set before the clock stepped back, so nothing is
-- known about which came first. Whoever logs in here has just been checked, and passes.
local revoked = epoch(KEYS[3])
local ahead = revoked > now + slack * 1000
if revoked > ARGV[11] + 0 and revoked >= authenticated and not ahead then
  return {STALE, ms, revoked, 0, now}
end
local there = call('HMGET', record, '!m', '!g')
if there[1] then return {OK, ms, revoked, 0, now} end
-- It was ended between two runs of one call.
if there[2] then return {GONE, ms, revoked, 0, now} end

-- Logins from the same older session whose token nobody has used: perhaps their answers
-- were lost, perhaps they are on their way. The first use of one ends the others. Where
-- there are many, the oldest ends here.
local beside, oldest, aside = {}, nil, {}
if logins then
  for other in string.gmatch(call('GET', logins) or '', '%S+') do
    beside[#beside + 1], aside[other] = other, true
  end
  if #beside >= 4 then oldest = table.remove(beside, 1) end
end
-- The session replaced ends when the browser shows that it has the new cookie. Until then
-- the browser has no other.
if replace ~= '' then aside[replace] = true end
local cap, policy, all = ARGV[12] + 0, ARGV[13], ARGV[2] + 0
local dead, evicted = make_room(index, records, cap, policy, aside, revoked, all)
if not dead then return {CAP, ms, revoked, 0, now} end

local session = begin(id, idle, life)
local epochs = int(revoked) .. '.' .. ARGV[2]
local auth = int(math.max(math.floor(authenticated / 1000), 0)) .. '.' .. ARGV[9]
write(record, session, epochs, ARGV[5], 15, '!o', ARGV[8], '!a', auth)
if logins then
  beside[#beside + 1] = member
  call('SET', logins, table.concat(beside, ' '), 'PX', int(expiry(session) - ms))
end
local repeated
if oldest then
  repeated = string.match(call('HGET', records .. oldest, '!m') or '', '^[^.]+')
  dead[#dead + 1] = oldest
end
enlist(index, records, member, session, dead, evicted)
if repeated then tell(channel, 'revoked', repeated, user, oldest, 'repeated') end
tell_evicted(channel, user, evicted)
tell(channel, 'created', id, user, member, 'login')
return {OK, ms, revoked, #evicted, now}
