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
local record, index = KEYS[1], KEYS[2]
local member, user = tail(record, 32), tail(index, 22)
local function enter(s)
  if index then
    call('ZADD', index, int(expiry(s)), member)
    outlive(index)
  end
end
local function keep(s, ...)
  call('PEXPIRE', record, int(expiry(s) - ms))
  call('HSET', record, '!t', int(s.seen), ...)
  enter(s)
end
local function shift(s, back)
  s.created, s.abs, s.seen = math.max(s.created - back, 0), s.abs - back, ms
  if ms >= expiry(s) then return end
  local changes = {'!m', s.id .. '.' .. int(s.created) .. '.' .. int(s.abs) .. '.' .. int(s.idle)}
  local names = {'!a', '!v', '!y', '!r'}
  for i, value in ipairs(call('HMGET', record, unpack(names))) do
    local instant, rest = string.match(value or '', '^(%d+)(.*)$')
    if instant then
      changes[#changes + 1] = names[i]
      changes[#changes + 1] = int(math.max(instant - back, 0)) .. rest
    end
  end
  keep(s, unpack(changes))
end
local function open(all)
  local f = call('HMGET', record, '!m', '!t', '!e', '!g')
  local s = decode(f[1], f[2], f[3])
  if not s then return nil, f[4] and SUPERSEDED or GONE end
  local revoked = outdated(s, epoch(KEYS[3]), all)
  if not revoked and s.seen - ms > slack then shift(s, s.seen - ms) end
  if revoked or ms >= expiry(s) then
    call('DEL', record)
    if index then call('ZREM', index, member) end
    return nil, GONE
  end
  return s
end
local s, status = open(ARGV[2] + 0)
if not s then return {status, ms, 0, 0} end
if s.idle < ARGV[4] + 0 then
  s.seen, s.idle = math.max(s.seen, ms), ARGV[4] + 0
  keep(s, '!m', s.id .. '.' .. int(s.created) .. '.' .. int(s.abs) .. '.' .. int(s.idle))
elseif ms > s.seen and ms - s.seen >= ARGV[3] + 0 then
  s.seen = ms
  keep(s)
end
return {OK, ms, s.seen, s.abs}
