-- session_create: make a session: a guest's, or a login, within the cap of the user; once only if it carries over another kit's.
-- KEYS[1]   record   hash; see SessionRecord in session_record.go
-- KEYS[2]   index    sorted set: the user's sessions by expiry, unix ms; of a guest KEYS[5], not passed without it
-- KEYS[3]   epoch    string, unix µs: the user's sessions stamped before it are dead; not passed for a guest
-- KEYS[4]   records  what the keys of the user's records begin with; members are appended to it; not passed for a guest
-- KEYS[5]   once     string: there if the old session was carried over before; or, of a login from an older session, the
--           members of the logins from it that were not settled yet; passed for these two only
-- ARGV[1]   now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]   all      the global epoch as known when the request began, unix µs, 0 for none
-- ARGV[3]   channel  of the events
-- ARGV[4]   id       public id
-- ARGV[5]   token    hash of the token
-- ARGV[6]   idle     ms, > 0
-- ARGV[7]   life     ms, > 0
-- ARGV[8]   level    of authentication, >= 0
-- ARGV[9]   elapsed  µs since the user authenticated, >= 0
-- ARGV[10]  known    the user's epoch that the caller set itself since then, unix µs, 0 for none
-- ARGV[11]  cap      sessions a user may have, 0 .. 100; 0 is unlimited
-- ARGV[12]  policy   at the cap: o ends the oldest, l the one not seen for longest, r refuses
-- ARGV[13]  owner    user id, '' for a guest
-- ARGV[14]  replace  member of the user's session that the caller drops next, which does not count, or ''
-- ARGV[15]  kept     ms that once is kept, > 0, of what is carried over no less than life; 0 where it is not passed
-- ARGV[16]  use      of once: carried, login, or ''
-- ARGV[17+]          name and value of each further field
-- RETURNS   {status, now ms, user epoch µs, sessions evicted, now µs}
-- EXPIRES   record, at its idle or its absolute deadline; index, with its last member; once, after kept
-- COST      12 commands, of a guest 6; with a cap 1 more, 1 for the session replaced, at the cap 1 for each session of the user and 3 for each one evicted; 2 more to carry over; 2 more from an older session, with a cap 1 for each login from it, and 4 if there are many
-- RETRY     safe: the series is random, or derived from the old session, so a second run finds the record of the first
local record, index, records, once = KEYS[1], KEYS[2], KEYS[4], KEYS[5]
if ARGV[13] == '' then index, once = nil, KEYS[2] end
local carried, login = ARGV[16] == 'carried' and once, ARGV[16] == 'login' and once
local member, user = tail(record, 32), tail(index, 22)
local channel, id, idle, life = ARGV[3], ARGV[4], ARGV[6] + 0, ARGV[7] + 0
local cap, policy, replace = ARGV[11] + 0, ARGV[12], ARGV[14]

local revoked = epoch(KEYS[3])
-- An epoch far ahead of the clock was set before the clock stepped back: nothing is known about who was first. Who is here
-- to log in has just been checked; an old session has not, and is refused.
if revoked > ARGV[10] + 0 and revoked >= now - ARGV[9] and (carried or revoked <= now + slack * 1000) then
  return {STALE, ms, revoked, 0, now}
end
local there = call('HMGET', record, '!m', '!g')
if there[1] then return {OK, ms, revoked, 0, now} end
if there[2] then return {carried and SUPERSEDED or GONE, ms, revoked, 0, now} end -- ended between two runs of one call
-- What was carried over has ended since: the old session, which nobody ended, must not begin again.
if carried and call('GET', carried) then return {GONE, ms, revoked, 0, now} end

-- What goes: sessions found dead, and those evicted.
local dead, evicted = {}, {}
-- Logins from the same older session whose token nobody has used: perhaps their answers were lost, perhaps they are on
-- their way. The first use of one ends the others; of many the oldest ends here.
local beside, aside, first = {}, {[replace] = true}, nil
for m in string.gmatch(login and call('GET', login) or '', '%S+') do
  beside[#beside + 1], aside[m] = m, true
end
if #beside >= 4 then first = table.remove(beside, 1) end
if index then
  local live = cap > 0 and call('ZCOUNT', index, '(' .. int(ms), '+inf') or 0
  -- They end when the browser shows that it has the new cookie: until then it has no other.
  if cap > 0 then
    for m in pairs(aside) do
      if m ~= '' and tonumber(call('ZSCORE', index, m) or 0) > ms then live = live - 1 end
    end
  end
  if cap > 0 and live >= cap then
    -- Those that live, as columns: a table for each, and a sort, would cost more than the commands do.
    local found, ids, since = {}, {}, {}
    for _, m in ipairs(call('ZRANGEBYSCORE', index, '(' .. int(ms), '+inf', 'LIMIT', 0, int(cap + 64))) do
      if not aside[m] then
        local f = call('HMGET', records .. m, '!m', '!t', '!e')
        local id, created, abs, idle, seen, stamp, all = parse(f[1], f[2], f[3])
        if id and ms < abs and ms < seen + idle and stamp >= revoked and all >= ARGV[2] + 0 then
          local n = #found + 1
          found[n], ids[n], since[n] = m, id, policy == 'l' and seen or created
        else
          dead[#dead + 1], live = m, live - 1
        end
      end
    end
    if live >= cap and policy ~= 'r' then
      for i = 1, math.min(live - cap + 1, 64, #found) do
        local least
        for n = 1, #found do
          if since[n] and (not least or since[n] < since[least] or since[n] == since[least] and found[n] < found[least]) then
            least = n
          end
        end
        evicted[i], since[least] = {id = ids[least], member = found[least]}, false
      end
    end
  end
  if live >= cap and cap > 0 and policy == 'r' then
    for _, m in ipairs(dead) do
      call('DEL', records .. m)
      call('ZREM', index, m)
    end
    return {CAP, ms, revoked, 0, now}
  end
end

-- HSET comes first: when memory is full it is refused, and so nothing is changed; after any other write it would pass.
local s = {created = ms, abs = ms + life, idle = idle, seen = ms}
call('HSET', record, '!m', id .. '.' .. int(ms) .. '.' .. int(s.abs) .. '.' .. int(idle), '!t', int(ms),
  '!e', int(revoked) .. '.' .. ARGV[2], '!s', ARGV[5])
if index then
  call('HSET', record, '!o', ARGV[13], '!a', int(math.max(math.floor((now - ARGV[9]) / 1000), 0)) .. '.' .. ARGV[8])
end
for i = 17, #ARGV, 1000 do
  call('HSET', record, unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
call('PEXPIRE', record, int(expiry(s) - ms))
if carried then call('SET', carried, '1', 'PX', ARGV[15]) end
if login then
  beside[#beside + 1] = member
  call('SET', login, table.concat(beside, ' '), 'PX', ARGV[15])
end
if first then
  local old = string.match(call('HGET', records .. first, '!m') or '', '^[^.]+')
  dead[#dead + 1] = first
  if old then tell(channel, 'revoked', old, user, first, 'repeated') end
end
if index then
  for _, e in ipairs(evicted) do dead[#dead + 1] = e.member end
  for _, m in ipairs(dead) do
    call('DEL', records .. m)
    call('ZREM', index, m)
  end
  call('ZREMRANGEBYSCORE', index, '-inf', int(ms))
  call('ZADD', index, int(expiry(s)), member)
  outlive(index)
end
for _, e in ipairs(evicted) do tell(channel, 'evicted', e.id, user, e.member, 'cap') end
tell(channel, 'created', id, user, member, carried and 'carried' or index and 'login' or 'guest')
return {OK, ms, revoked, #evicted, now}
