--!df flags=allow-undeclared-keys
local call, format = redis.call, string.format
local now, clock
if ARGV[1] == '' then
  clock = call('TIME')
  now = clock[1] * 1000000 + clock[2]
else
  now = ARGV[1] + 0
end
local OK, GONE, SUPERSEDED, REPLAY, BADTYPE, STALE, CAP, CONFLICT, NOTDUE, PREVIOUS = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local ms = math.floor(now / 1000)
local slack = 5000
local marked = 10000
local function int(n)
  return format('%.0f', n)
end
local function parse(m, t, e)
  if not (m and t and e) then return nil end
  local id, created, abs, idle = string.match(m, '^([^.]+)%.(%d+)%.(%d+)%.(%d+)')
  local user, all = string.match(e, '^(%d+)%.(%d+)')
  local seen = tonumber(t)
  if not (id and user and seen) then return nil end
  return id, created + 0, abs + 0, idle + 0, seen, user + 0, all + 0
end
local function decode(m, t, e)
  local id, created, abs, idle, seen, user, all = parse(m, t, e)
  return id and {id = id, created = created, abs = abs, idle = idle, seen = seen, user = user, all = all}
end
local function expiry(s)
  return math.min(s.abs, s.seen + s.idle)
end
local function outdated(s, user, all)
  return user > s.user or all > s.all
end
local function ended(s, user, all)
  return ms >= expiry(s) or outdated(s, user, all)
end
local function epoch(key)
  return tonumber(key and call('GET', key) or 0) or 0
end
local function mark(key)
  call('DEL', key)
  call('HSET', key, '!g', '1')
  call('PEXPIRE', key, int(marked))
end
local function outlive(index)
  local top = call('ZRANGE', index, -1, -1, 'WITHSCORES')
  if top[2] then call('PEXPIRE', index, int(math.max(top[2] - ms, 1))) end
end
local function tell(channel, kind, id, user, member, reason)
  redis.pcall('PUBLISH', channel, table.concat({kind, id, user, member, reason, int(ms)}, ' '))
end
local function tail(key, length)
  return key and string.sub(key, -length) or '-'
end
local record, index, records, once = KEYS[1], KEYS[2], KEYS[4], KEYS[5]
if ARGV[13] == '' then index, once = nil, KEYS[2] end
local carried, login = ARGV[16] == 'carried' and once, ARGV[16] == 'login' and once
local member, user = tail(record, 32), tail(index, 22)
local channel, id, idle, life = ARGV[3], ARGV[4], ARGV[6] + 0, ARGV[7] + 0
local cap, policy, replace = ARGV[11] + 0, ARGV[12], ARGV[14]
local revoked = epoch(KEYS[3])
if revoked > ARGV[10] + 0 and revoked >= now - ARGV[9] and (carried or revoked <= now + slack * 1000) then
  return {STALE, ms, revoked, 0, now}
end
local there = call('HMGET', record, '!m', '!g')
if there[1] then return {OK, ms, revoked, 0, now} end
if there[2] then return {carried and SUPERSEDED or GONE, ms, revoked, 0, now} end -- ended between two runs of one call
if carried and call('GET', carried) then return {GONE, ms, revoked, 0, now} end
local dead, evicted = {}, {}
local beside, aside, first = {}, {[replace] = true}, nil
for m in string.gmatch(login and call('GET', login) or '', '%S+') do
  beside[#beside + 1], aside[m] = m, true
end
if #beside >= 4 then first = table.remove(beside, 1) end
if index then
  local live = cap > 0 and call('ZCOUNT', index, '(' .. int(ms), '+inf') or 0
  if cap > 0 then
    for m in pairs(aside) do
      if m ~= '' and tonumber(call('ZSCORE', index, m) or 0) > ms then live = live - 1 end
    end
  end
  if cap > 0 and live >= cap then
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
