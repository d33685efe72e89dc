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
local function page(index, score, after, limit)
  local from = 0
  if after ~= '' then
    local at = call('ZSCORE', index, after)
    if at and at + 0 == score + 0 then
      from = call('ZRANK', index, after) + 1
    else
      from = call('ZCOUNT', index, '-inf', '(' .. score)
    end
  end
  local found = call('ZRANGE', index, int(from), int(from + limit), 'WITHSCORES')
  local members = {}
  for i = 1, math.min(#found / 2, limit) do members[i] = found[2 * i - 1] end
  if #found / 2 <= limit then return members, '', '' end
  return members, found[2 * limit], found[2 * limit - 1]
end
local function expel(index, members)
  if #members > 0 then call('ZREM', index, unpack(members)) end
end
local function purge(index, records, members, epoch)
  local dead, keys = {}, {}
  for _, member in ipairs(members) do
    local stamp = call('HGET', records .. member, '!e')
    if not stamp then
      dead[#dead + 1] = member
    elseif (tonumber(string.match(stamp, '^%d+')) or 0) < epoch then
      dead[#dead + 1], keys[#keys + 1] = member, records .. member
    end
  end
  if #keys > 0 then call('UNLINK', unpack(keys)) end
  expel(index, dead)
  return #keys
end
local index, records, revoked, all = KEYS[1], KEYS[2], epoch(KEYS[3]), ARGV[2] + 0
call('ZREMRANGEBYSCORE', index, '-inf', int(ms))
local members, score, after = page(index, ARGV[3], ARGV[4], ARGV[5] + 0)
local reply, dead = {score, after}, {}
for _, member in ipairs(members) do
  local record = records .. member
  local fields = call('HMGET', record, '!m', '!t', '!a', '!d', '!l', '!i', '!e')
  local session = decode(fields[1], fields[2], fields[7])
  if session and ms < expiry(session) and not outdated(session, revoked, all) then
    reply[#reply + 1] = member
    for i = 1, 7 do reply[#reply + 1] = fields[i] or '' end
  else
    dead[#dead + 1] = member
    if session then call('UNLINK', record) end
  end
end
expel(index, dead)
return reply
