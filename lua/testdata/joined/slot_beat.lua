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
local limit = {holders = KEYS[1], meta = KEYS[2], length = ARGV[2] + 0}
slots.read(limit)
local reply = {}
for i = 1, #ARGV - 2 do
  reply[i] = 0
  if call('ZSCORE', limit.holders, ARGV[i + 2]) then
    call('ZADD', limit.holders, int(now + limit.length), ARGV[i + 2])
    reply[i] = 1
  end
end
slots.expire(limit)
return reply
