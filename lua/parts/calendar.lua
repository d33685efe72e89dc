-- calendar: CalendarQuota, a count for each civil day, week or month of a zone. The key
-- is a hash from the id of a period to the permits spent in it. The id is the date of the
-- first day, yyyymmdd. Field g counts the resets: after one, older refunds name a period
-- of another generation. Redis knows no zones. In place of the window the process passes
-- some periods, one after the other: for each the 8 digits of its id and the 16 of its
-- start, unix µs. They lie around the clock of the process, and the script picks one by
-- its own.
-- NEEDS now: call, now; int: int
local calendar = {}

-- id returns the date of the first day of a period, by its number among those passed.
function calendar.id(limit, n)
  return limit.periods:sub(24 * n - 23, 24 * n - 16)
end

-- start returns when a period begins, unix µs.
function calendar.start(limit, n)
  return limit.periods:sub(24 * n - 15, 24 * n) + 0
end

-- pick finds the period of now, and reports whether it could. The one before it, and two
-- boundaries after it, must be among those passed. Without the one before, a process
-- whose clock is off would never forget an old period.
function calendar.pick(limit)
  limit.last = #limit.periods / 24
  if now < calendar.start(limit, 2) or now >= calendar.start(limit, limit.last - 1) then
    return false
  end
  limit.at = limit.last - 2
  while now < calendar.start(limit, limit.at) do limit.at = limit.at - 1 end
  return true
end

-- wait returns how long until the cost passes, µs: until the first later period that has
-- room. A later one holds permits if the clock was there and stepped back.
function calendar.wait(limit)
  local ids = {}
  for n = limit.at + 1, limit.last do ids[#ids + 1] = calendar.id(limit, n) end
  for i, spent in ipairs(call('HMGET', limit.key, unpack(ids))) do
    if (spent or 0) + limit.cost <= limit.quota then
      return calendar.start(limit, limit.at + i) - now
    end
  end
  return calendar.start(limit, limit.last) - now
end

function calendar.read(limit)
  limit.id = calendar.id(limit, limit.at)
  local held = call('HMGET', limit.key, limit.id, 'g')
  limit.fresh, limit.spent = not held[1], (held[1] or 0) + 0
  limit.generation, limit.wait = (held[2] or 0) + 0, 0
  if limit.spent + limit.cost > limit.quota then limit.wait = calendar.wait(limit) end
end

-- look tells what remains if nothing is spent. The stamp is below 0: it names the period
-- and gives nothing back.
function calendar.look(limit)
  limit.remaining, limit.stamp = math.max(limit.quota - limit.spent, 0), 0 - limit.id
  limit.reset = 0
  if limit.spent > 0 then limit.reset = calendar.start(limit, limit.at + 1) - now end
end

-- spend adds the cost to the period. The first call of a period forgets old ones, and
-- sets the expiry.
function calendar.spend(limit)
  call('HINCRBY', limit.key, limit.id, int(limit.cost))
  if limit.fresh then calendar.turn(limit) end
  limit.spent = limit.spent + limit.cost
  calendar.look(limit)
  limit.stamp = limit.id * 256 + limit.generation % 256
end

-- turn keeps the period in which the clock was a day ago, and the later ones. It keeps
-- the key for a day and a second after the newest period that it holds. That one may be
-- later than now, if the clock stepped back. If it is beyond the periods passed, the
-- expiry stays as that period set it.
function calendar.turn(limit)
  local fields, dead, newest = call('HGETALL', limit.key), {}, limit.id + 0
  local oldest = limit.at - 1
  if calendar.start(limit, oldest) > now - 86400000000 then oldest = oldest - 1 end
  for i = 1, #fields, 2 do
    if fields[i] ~= 'g' then
      newest = math.max(newest, fields[i] + 0)
      if oldest > 0 and fields[i] + 0 < calendar.id(limit, oldest) + 0 then
        dead[#dead + 1] = fields[i]
      end
    end
  end
  if #dead > 0 then call('HDEL', limit.key, unpack(dead)) end
  for n = limit.at + 1, limit.last do
    if calendar.id(limit, n) + 0 > newest then
      local ms = math.ceil((calendar.start(limit, n) - now) / 1000) + 86401000
      call('PEXPIRE', limit.key, int(ms))
      return
    end
  end
end

-- refund gives back to the period that was charged, also after it has ended. A period in
-- which nothing is left goes, and the hash goes with its last period: a key that another
-- policy denied leaves nothing behind.
function calendar.refund(limit)
  local id = int(math.floor(limit.stamp / 256))
  local held = call('HMGET', limit.key, id, 'g')
  if (held[2] or 0) % 256 ~= limit.stamp % 256 then return 0 end
  if (held[1] or 0) + 0 < limit.cost then return 0 end
  if held[1] + 0 == limit.cost then
    call('HDEL', limit.key, id)
  else
    call('HINCRBY', limit.key, id, int(-limit.cost))
  end
  return limit.cost
end

-- forget keeps the generation of a key, one further, and reports whether there was a key.
function calendar.forget(key)
  local fields = call('HGETALL', key)
  if #fields == 0 then return 0 end
  local generation, periods = 0, {}
  for i = 1, #fields, 2 do
    if fields[i] == 'g' then
      generation = fields[i + 1] + 0
    else
      periods[#periods + 1] = fields[i]
    end
  end
  call('HSET', key, 'g', int(generation + 1))
  if #periods > 0 then call('HDEL', key, unpack(periods)) end
  return 1
end

-- place gives the limit its window, µs, or its periods. It reports whether the script may
-- decide: it may not if now is not among the periods.
local function place(limit, word)
  if limit.algorithm == calendar then
    limit.periods = word
    return calendar.pick(limit)
  end
  limit.window = word + 0
  return true
end

-- outside is the reply to periods that now is not among. Nothing was read or written.
local function outside(limits)
  local reply = {-1, now}
  for i = 3, 1 + 4 * limits do reply[i] = 0 end
  return reply
end
