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
local slots = {}
function slots.read(limit)
  limit.held, limit.first = 0, nil
  local newest = call('ZREVRANGE', limit.holders, 0, 0, 'WITHSCORES')
  if not newest[1] then return end
  local latest = now + limit.length
  if newest[2] + 0 > latest then
    local far = call('ZRANGEBYSCORE', limit.holders, '(' .. int(latest), '+inf')
    for _, id in ipairs(far) do call('ZADD', limit.holders, int(latest), id) end
  end
  limit.held = (call('HGET', limit.meta, 's') or 0) + 0
  local first = call('ZRANGE', limit.holders, 0, 0, 'WITHSCORES')
  if first[2] + 0 <= now then
    for _, id in ipairs(call('ZRANGEBYSCORE', limit.holders, '-inf', int(now))) do
      slots.drop(limit, id)
    end
    first = call('ZRANGE', limit.holders, 0, 0, 'WITHSCORES')
  end
  if first[2] then limit.first = first[2] + 0 end
end
function slots.drop(limit, id)
  local words = call('HGET', limit.meta, id)
  call('ZREM', limit.holders, id)
  if not words then return 0 end
  local weight = string.match(words, '^%d+') + 0
  limit.held = limit.held - weight
  call('HDEL', limit.meta, id)
  call('HINCRBY', limit.meta, 's', int(-weight))
  return weight
end
function slots.expire(limit)
  local ms = math.ceil(limit.length / 1000) + 1000
  call('PEXPIRE', limit.holders, int(ms))
  call('PEXPIRE', limit.meta, int(ms))
end
function slots.wake(limit)
  local room = limit.quota - limit.held
  if room <= 0 then return end
  for _, process in ipairs(call('ZRANGE', limit.line, 0, int(room - 1))) do
    redis.pcall('PUBLISH', limit.channel .. process, limit.holders)
  end
end
local line = {}
function line.asked(limit, process)
  local words = call('HGET', limit.meta, 'w:' .. process)
  if not words then return nil end
  local at, weight = string.match(words, '^(%d+) (%d+)$')
  if math.abs(now - at) >= 2000000 then return nil end
  return weight + 0
end
function line.leave(limit, process)
  call('HDEL', limit.meta, 'w:' .. process)
  return call('ZREM', limit.line, process)
end
function line.fits(limit, weight, process)
  local room, ahead, place = limit.quota - limit.held, 0, 0
  while ahead + weight <= room do
    local other = call('ZRANGE', limit.line, place, place)[1]
    if not other then
      limit.alone = place == 0
      return true
    end
    if other == process then return true end
    local waits = line.asked(limit, other)
    if waits then
      ahead, place = ahead + waits, place + 1
    else
      line.leave(limit, other)
    end
  end
  return false
end
function line.join(limit, weight, process)
  if not call('ZSCORE', limit.line, process) then
    local last = call('ZREVRANGE', limit.line, 0, 0, 'WITHSCORES')
    local ticket = now
    if last[2] and last[2] + 0 >= now then ticket = last[2] + 1 end
    call('ZADD', limit.line, int(ticket), process)
  end
  call('HSET', limit.meta, 'w:' .. process, format('%.0f %.0f', now, weight))
  call('PEXPIRE', limit.line, int(math.ceil(limit.length / 1000) + 1000))
end
local limit = {
  holders = KEYS[1], meta = KEYS[2], line = KEYS[3],
  quota = ARGV[2] + 0, length = ARGV[3] + 0, channel = ARGV[4],
}
slots.read(limit)
local left = line.leave(limit, ARGV[5])
slots.wake(limit)
return {left}
