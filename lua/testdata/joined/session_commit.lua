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
local record, index = KEYS[1], KEYS[2]
local member, user = tail(record, 32), tail(index, 22)
local function enter(session)
  if index then
    call('ZADD', index, int(expiry(session)), member)
    outlive(index)
  end
end
local function keep(session, ...)
  call('PEXPIRE', record, int(expiry(session) - ms))
  call('HSET', record, '!t', int(session.seen), ...)
  enter(session)
end
local function shift(session, back)
  session.created = math.max(session.created - back, 0)
  session.abs, session.seen = session.abs - back, ms
  if ms >= expiry(session) then return end
  local changes = {'!m', encode(session)}
  local names = {'!a', '!v', '!y', '!r'}
  for i, value in ipairs(call('HMGET', record, unpack(names))) do
    local instant, rest = string.match(value or '', '^(%d+)(.*)$')
    if instant then
      changes[#changes + 1] = names[i]
      changes[#changes + 1] = int(math.max(instant - back, 0)) .. rest
    end
  end
  keep(session, unpack(changes))
end
local function open(all)
  local fields = call('HMGET', record, '!m', '!t', '!e', '!g')
  local session = decode(fields[1], fields[2], fields[3])
  if not session then return nil, fields[4] and SUPERSEDED or GONE end
  local revoked = outdated(session, epoch(KEYS[3]), all)
  if not revoked and session.seen - ms > slack then shift(session, session.seen - ms) end
  if revoked or ms >= expiry(session) then
    call('DEL', record)
    if index then call('ZREM', index, member) end
    return nil, GONE
  end
  return session
end
local session, status = open(ARGV[2] + 0)
if not session then return {status, ms} end
local sets, deletes = 2 * ARGV[4], ARGV[5] + 0
local first, last = 6 + sets, 5 + sets + deletes
local changes, after, gone = {'!n', ARGV[3]}, {}, {}
for i = 6, first - 1, 2 do
  after[ARGV[i]] = ARGV[i + 1]
end
for i = first, last do
  after[ARGV[i]] = false
end
local limit = 9007199254740992
for i = last + 1, #ARGV, 2 do
  local name = ARGV[i]
  local value = after[name]
  if value == nil then value = call('HGET', record, name) end
  if value and not string.match(value, '^-?%d+$') then return {BADTYPE, ms} end
  local number = tonumber(value or 0)
  if not number then return {BADTYPE, ms} end
  local sum = number + ARGV[i + 1]
  if math.abs(number) >= limit or math.abs(sum) >= limit then return {BADTYPE, ms} end
  after[name] = int(sum)
end
for name, value in pairs(after) do
  if value then
    changes[#changes + 1], changes[#changes + 2] = name, value
  else
    gone[#gone + 1] = name
  end
end
for i = 1, #changes, 1000 do
  call('HSET', record, unpack(changes, i, math.min(i + 999, #changes)))
end
for i = 1, #gone, 1000 do
  call('HDEL', record, unpack(gone, i, math.min(i + 999, #gone)))
end
return {OK, ms}
