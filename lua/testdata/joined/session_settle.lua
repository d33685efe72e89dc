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
local record, index, records, logins = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local member, user = tail(record, 32), tail(index, 22)
local others, known = {}, false
for m in string.gmatch(call('GET', logins) or '', '%S+') do
  if m == member then known = true else others[#others + 1] = m end
end
if known then
  call('DEL', logins)
  for _, m in ipairs(others) do
    local id = string.match(call('HGET', records .. m, '!m') or '', '^[^.]+')
    if id then
      mark(records .. m)
      call('ZREM', index, m)
      tell(ARGV[2], 'revoked', id, user, m, 'repeated')
    end
  end
end
call('HDEL', record, '!x')
return {OK, ms}
