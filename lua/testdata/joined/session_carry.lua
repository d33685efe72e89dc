--!df flags=allow-undeclared-keys
local call, format = redis.call, string.format
local now, clock
if ARGV[1] == '' then
  clock = call('TIME')
  now = clock[1] * 1000000 + clock[2]
else
  now = ARGV[1] + 0
end
local function int(number)
  return format('%.0f', number)
end
local OK, GONE, SUPERSEDED, REPLAY, BADTYPE = 1, 2, 3, 4, 5
local STALE, CAP, CONFLICT, NOTDUE, PREVIOUS = 6, 7, 8, 9, 10
local ms = math.floor(now / 1000)
local slack = 5000
local function parse(meta, last, epochs)
  if not (meta and last and epochs) then return nil end
  local id, created, abs, idle = string.match(meta, '^([^.]+)%.(%d+)%.(%d+)%.(%d+)')
  local user, all = string.match(epochs, '^(%d+)%.(%d+)')
  local seen = tonumber(last)
  if not (id and user and seen) then return nil end
  return id, created + 0, abs + 0, idle + 0, seen, user + 0, all + 0
end
local function decode(meta, last, epochs)
  local id, created, abs, idle, seen, user, all = parse(meta, last, epochs)
  if not id then return nil end
  return {
    id = id, created = created, abs = abs, idle = idle, seen = seen,
    user = user, all = all,
  }
end
local function encode(session)
  return session.id .. '.' .. int(session.created) .. '.' .. int(session.abs) .. '.' ..
    int(session.idle)
end
local function expiry(session)
  return math.min(session.abs, session.seen + session.idle)
end
local function outdated(session, user, all)
  return user > session.user or all > session.all
end
local function epoch(key)
  return tonumber(key and call('GET', key) or 0) or 0
end
local function outlive(index)
  local top = call('ZRANGE', index, -1, -1, 'WITHSCORES')
  if top[2] then call('PEXPIRE', index, int(math.max(top[2] - ms, 1))) end
end
local function tell(channel, kind, id, user, member, reason)
  local event = table.concat({kind, id, user, member, reason, int(ms)}, ' ')
  redis.pcall('PUBLISH', channel, event)
end
local function tail(key, length)
  return key and string.sub(key, -length) or '-'
end
local function begin(id, idle, life)
  return {id = id, created = ms, abs = ms + life, idle = idle, seen = ms}
end
local function write(record, session, epochs, token, n, ...)
  call('HSET', record, '!m', encode(session), '!t', int(session.seen), '!e', epochs,
    '!s', token, ...)
  for i = n, #ARGV, 1000 do
    call('HSET', record, unpack(ARGV, i, math.min(i + 999, #ARGV)))
  end
  call('PEXPIRE', record, int(expiry(session) - ms))
end
local function remove(index, records, members)
  for _, member in ipairs(members) do
    call('DEL', records .. member)
    call('ZREM', index, member)
  end
end
local function make_room(index, records, cap, policy, aside, revoked, all)
  local dead, evicted = {}, {}
  if cap == 0 then return dead, evicted end
  local live = call('ZCOUNT', index, '(' .. int(ms), '+inf')
  for member in pairs(aside) do
    if tonumber(call('ZSCORE', index, member) or 0) > ms then live = live - 1 end
  end
  if live < cap then return dead, evicted end
  local found, ids, since = {}, {}, {}
  local most = int(cap + 64)
  local listed = call('ZRANGEBYSCORE', index, '(' .. int(ms), '+inf', 'LIMIT', 0, most)
  for _, member in ipairs(listed) do
    if not aside[member] then
      local fields = call('HMGET', records .. member, '!m', '!t', '!e')
      local id, created, abs, idle, seen, before, before_all =
        parse(fields[1], fields[2], fields[3])
      local alive = id and ms < abs and ms < seen + idle
      if alive and before >= revoked and before_all >= all then
        local n = #found + 1
        found[n], ids[n] = member, id
        if policy == 'l' then since[n] = seen else since[n] = created end
      else
        dead[#dead + 1], live = member, live - 1
      end
    end
  end
  if live < cap then return dead, evicted end
  if policy == 'r' then
    remove(index, records, dead)
    return nil
  end
  for i = 1, math.min(live - cap + 1, 64, #found) do
    local least
    for n = 1, #found do
      if since[n] then
        if not least or since[n] < since[least] then
          least = n
        elseif since[n] == since[least] and found[n] < found[least] then
          least = n
        end
      end
    end
    evicted[i], since[least] = {id = ids[least], member = found[least]}, false
  end
  return dead, evicted
end
local function enlist(index, records, member, session, dead, evicted)
  for _, gone in ipairs(evicted) do dead[#dead + 1] = gone.member end
  remove(index, records, dead)
  call('ZREMRANGEBYSCORE', index, '-inf', int(ms))
  call('ZADD', index, int(expiry(session)), member)
  outlive(index)
end
local function tell_evicted(channel, user, evicted)
  for _, gone in ipairs(evicted) do
    tell(channel, 'evicted', gone.id, user, gone.member, 'cap')
  end
end
local record, carried, index, records = KEYS[1], KEYS[2], KEYS[3], KEYS[5]
local member, user = tail(record, 32), tail(index, 22)
local channel, id, idle, life = ARGV[3], ARGV[4], ARGV[6] + 0, ARGV[7] + 0
local authenticated = now - ARGV[10]
local revoked = epoch(KEYS[4])
if revoked > 0 and revoked >= authenticated then return {STALE, ms, revoked, 0, now} end
local there = call('HMGET', record, '!m', '!g')
if there[1] then return {OK, ms, revoked, 0, now} end
if there[2] then return {SUPERSEDED, ms, revoked, 0, now} end
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
