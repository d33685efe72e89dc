-- slots: who holds the slots of a concurrency limit, and who waits for one. The holders
-- are a sorted set of ids by the instant at which their slot runs out, unix µs. meta is
-- a hash: an id has 'weight fence stamp...', s is the sum of the weights, f the last
-- fence, and 'w:<process>' of a waiting process 'last asked, unix µs, and weight'. The
-- line is a sorted set of the waiting processes by ticket.
-- NEEDS now: call, now; int: int
local slots = {}

-- read fills in held, the sum of the weights, and first, the instant at which the next
-- slot runs out. It first clamps what lies too far ahead: no holder was promised more
-- than length from now, so the clock stepped back, and a dead holder would block for
-- that step. Then it drops who is over.
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

-- drop takes the slot from a holder, and returns its weight; 0 if it held none.
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

-- expire gives the keys a TTL that covers the longest slot. The second on top is for a
-- TIME that was read before the base of the expiry.
function slots.expire(limit)
  local ms = math.ceil(limit.length / 1000) + 1000
  call('PEXPIRE', limit.holders, int(ms))
  call('PEXPIRE', limit.meta, int(ms))
end

-- wake tells the first processes in line that there may be room for them. Each listens
-- on a channel that ends in its name. PUBLISH may be denied, and nobody relies on it: a
-- process in line asks again after a second.
function slots.wake(limit)
  local room = limit.quota - limit.held
  if room <= 0 then return end
  for _, process in ipairs(call('ZRANGE', limit.line, 0, int(room - 1))) do
    redis.pcall('PUBLISH', limit.channel .. process, limit.holders)
  end
end
