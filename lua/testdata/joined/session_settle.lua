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
local marked = 10000
local function mark(key)
  call('DEL', key)
  call('HSET', key, '!g', '1')
  call('PEXPIRE', key, int(marked))
end
local record, index, records, logins = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local member, user = tail(record, 32), tail(index, 22)
local others, known = {}, false
for other in string.gmatch(call('GET', logins) or '', '%S+') do
  if other == member then known = true else others[#others + 1] = other end
end
if known then
  call('DEL', logins)
  for _, other in ipairs(others) do
    local id = string.match(call('HGET', records .. other, '!m') or '', '^[^.]+')
    if id then
      mark(records .. other)
      call('ZREM', index, other)
      tell(ARGV[2], 'revoked', id, user, other, 'repeated')
    end
  end
end
call('HDEL', record, '!x')
return {OK, ms}
