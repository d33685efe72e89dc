local call, format = redis.call, string.format
local now, clock
if ARGV[1] == '' then
  clock = call('TIME')
  now = clock[1] * 1000000 + clock[2]
else
  now = ARGV[1] + 0
end
if ARGV[2] == 'w' then
  local n, usual, allowed = #KEYS, true, true
  local waits, heads, newests, deads = {}, {}, {}, {}
  for i = 1, n do
    local key, edge = KEYS[i], now - ARGV[2 * i + 2]
    local bar = call('LINDEX', key, format('-%s', ARGV[2 * i + 1]))
    bar = bar and bar + 0
    if bar and bar > edge then
      if bar > now then usual = false break end
      waits[i], allowed = bar - edge, false
    else
      local head = call('LRANGE', key, '0', '3')
      local newest = head[4] and call('LINDEX', key, '-1') or head[#head]
      newest = newest and newest + 0
      if newest and newest >= now then usual = false break end
      waits[i], newests[i] = 0, newest or 0
      if newest and newest > edge then
        local oldest, dead = head[1] + 0, 0
        while oldest and oldest <= edge do
          dead = dead + 1
          local after = head[dead + 1]
          oldest = after and after + 0
        end
        if not oldest then usual = false break end
        heads[i], deads[i] = oldest, dead
      end
    end
  end
  if usual then
    local reply, place, word = {}, n, nil
    if clock and #clock[2] == 6 then
      word = clock[1] .. clock[2]
    else
      word = format('%.0f', now)
    end
    for i = 1, n do
      local key, quota, window = KEYS[i], ARGV[2 * i + 1] + 0, ARGV[2 * i + 2] + 0
      local wait, oldest, dead = waits[i], heads[i], deads[i]
      if wait > 0 then
        reply[i], reply[place + 1], reply[place + 2] = 0, 0, wait
        reply[place + 3], reply[place + 4] = wait, 0
      elseif not allowed then
        local live, reset = 0, 0
        if oldest then
          live, reset = call('LLEN', key) - dead, oldest + window - now
        end
        reply[i], reply[place + 1], reply[place + 2] = 4, quota - live, 0
        reply[place + 3], reply[place + 4] = reset, 0
      else
        local newest = newests[i]
        if not oldest then
          if newest > 0 then call('DEL', key) end
          oldest = now
        elseif dead == 1 then
          call('LPOP', key)
        elseif dead > 1 then
          call('LTRIM', key, dead, '-1')
        end
        local live = call('RPUSH', key, word)
        if newest < now - now % window then
          call('PEXPIRE', key, format('%.0f', math.ceil(window / 500) + 1000))
        end
        reply[i], reply[place + 1], reply[place + 2] = 1, quota - live, 0
        reply[place + 3], reply[place + 4] = oldest + window - now, now
      end
      place = place + 4
    end
    return reply
  end
end
local function int(number)
  return format('%.0f', number)
end
local function lead(window)
  return math.min(math.floor(window / 4), 5000000)
end
local era = 3000000000000000
local function ttl(stamp, window)
  return int(math.ceil((stamp - now + 2 * window) / 1000) + 1000)
end
local function trace(key, window, its)
  call('RPUSH', key, int(now - window + its))
  call('PEXPIRE', key, ttl(now - window, window))
end
local function chunks(items, run)
  for i = 1, #items, 1000 do
    run(unpack(items, i, math.min(i + 999, #items)))
  end
end
local function report(reply, limit)
  local n = #reply
  reply[n + 1], reply[n + 2] = math.max(limit.remaining, 0), limit.wait
  reply[n + 3], reply[n + 4] = limit.reset, limit.stamp
end
local window = {}
function window.at(limit, n)
  local stamp = call('LINDEX', limit.key, int(-n))
  stamp = stamp and stamp % era - limit.ahead
  return stamp and stamp > limit.edge and stamp
end
function window.repair(limit)
  local ahead = limit.newest + 1 - now - lead(limit.window)
  if ahead <= 0 then return false end
  limit.newest = limit.newest - ahead
  if limit.peek then
    limit.ahead = ahead
    return true
  end
  local kept = {}
  limit.era = (limit.era + era) % (3 * era)
  for _, stamp in ipairs(call('LRANGE', limit.key, 0, -1)) do
    stamp = stamp % era - ahead
    if stamp > limit.edge then kept[#kept + 1] = int(stamp + limit.era) end
  end
  call('DEL', limit.key)
  chunks(kept, function(...) call('RPUSH', limit.key, ...) end)
  call('PEXPIRE', limit.key, ttl(limit.newest, limit.window))
  return true
end
function window.read(limit)
  limit.ahead, limit.era, limit.edge = 0, 0, now - limit.window
  limit.bar = window.at(limit, limit.quota - limit.cost + 1)
  if not (limit.bar and limit.bar <= now) then
    limit.newest = call('LINDEX', limit.key, -1)
    if limit.newest then
      limit.era = limit.newest - limit.newest % era
      limit.newest = limit.newest - limit.era
      if window.repair(limit) then
        limit.bar = window.at(limit, limit.quota - limit.cost + 1)
      end
    end
  end
  limit.wait = limit.bar and limit.bar - limit.edge or 0
end
function window.live(limit, least, most, oldest)
  while most - least > 64 do
    local middle = math.ceil((least + most) / 2)
    local stamp = window.at(limit, middle)
    if stamp then least, oldest = middle, stamp else most = middle - 1 end
  end
  if most > least then
    local found = call('LRANGE', limit.key, int(-most), int(-least - 1))
    for i, stamp in ipairs(found) do
      stamp = stamp % era - limit.ahead
      if stamp > limit.edge then return least + #found - i + 1, stamp end
    end
  end
  return least, oldest
end
function window.front(limit)
  local length = call('LLEN', limit.key)
  local found = call('LRANGE', limit.key, 0, 4)
  for i, stamp in ipairs(found) do
    stamp = stamp % era - limit.ahead
    if stamp > limit.edge then return length - i + 1, stamp end
  end
  return window.live(limit, 0, length - #found)
end
function window.look(limit)
  local live, oldest
  if limit.wait > 0 then
    local least = limit.quota - limit.cost + 1
    live, oldest = window.live(limit, least, limit.quota, limit.bar)
  elseif limit.newest then
    live, oldest = window.front(limit)
  else
    live = 0
  end
  limit.remaining, limit.stamp = limit.quota - live, 0
  limit.reset = oldest and oldest - limit.edge or 0
end
function window.spend(limit)
  local stamp, live, oldest = now, 0, nil
  if limit.newest and limit.newest > limit.edge then
    if limit.newest >= now then stamp = limit.newest + 1 end
    oldest = call('LINDEX', limit.key, 0) % era
    if oldest <= limit.edge then
      live, oldest = window.front(limit)
      call('LTRIM', limit.key, int(-live), -1)
    end
  elseif limit.newest then
    call('DEL', limit.key)
    if limit.newest <= limit.edge - lead(limit.window) then limit.era = 0 end
    limit.newest = nil
  end
  local word = int(stamp + limit.era)
  if limit.cost == 1 then
    live = call('RPUSH', limit.key, word)
  else
    local stamps = {}
    for i = 1, limit.cost do stamps[i] = word end
    chunks(stamps, function(...) live = call('RPUSH', limit.key, ...) end)
  end
  if not limit.newest or limit.newest < stamp - stamp % limit.window then
    call('PEXPIRE', limit.key, ttl(stamp, limit.window))
  end
  limit.remaining, limit.stamp = limit.quota - live, stamp + limit.era
  limit.reset = (oldest or stamp) - limit.edge
end
function window.refund(limit)
  if limit.stamp % era <= now - limit.window then return 0 end
  local given = call('LREM', limit.key, int(-limit.cost), int(limit.stamp))
  if given > 0 and limit.stamp >= era and call('LLEN', limit.key) == 0 then
    trace(limit.key, limit.window, limit.stamp - limit.stamp % era)
  end
  return given
end
local parts = 16
local buckets = {}
local function span(limit)
  return math.ceil(limit.window / parts)
end
function buckets.ttl(limit)
  return int(math.ceil(span(limit) * (parts + 2 + limit.top - limit.index) / 1000) + 1000)
end
function buckets.load(limit)
  local stored = call('GET', limit.key) or '0 0 0 0 0'
  local generation, top, held, rest, oldest, tail =
    string.match(stored, '^(%d+) (%d+) (%d+) (%d+) (%d+)(.*)$')
  limit.generation, limit.top, limit.held = generation + 0, top + 0, held + 0
  limit.rest, limit.oldest, limit.tail = rest + 0, oldest + 0, tail
end
function buckets.save(limit, ...)
  local head = format('%.0f %.0f %.0f', limit.generation, limit.top, limit.held)
  call('SET', limit.key,
    format('%s %.0f %.0f%s', head, limit.rest, limit.oldest, limit.tail), ...)
end
function buckets.list(limit)
  local found = {limit.top, limit.held}
  for index, permits in string.gmatch(limit.tail, ';(%d+)=(%d+)') do
    found[#found + 1], found[#found + 2] = index + 0, permits + 0
  end
  return found
end
function buckets.fill(limit, found)
  local tail = {}
  limit.top, limit.held, limit.rest, limit.oldest = 0, 0, 0, 0
  for i = 1, #found, 2 do
    local index, permits = found[i], found[i + 1]
    if permits > 0 then
      limit.oldest = index
      if limit.held == 0 then
        limit.top, limit.held = index, permits
      else
        limit.rest = limit.rest + permits
        tail[#tail + 1] = format(';%.0f=%.0f', index, permits)
      end
    end
  end
  limit.tail = table.concat(tail)
end
function buckets.repair(limit)
  local ahead, found = limit.top - limit.index - 1, buckets.list(limit)
  if ahead <= 0 then return end
  for i = 1, #found, 2 do found[i] = found[i] - ahead end
  limit.generation = limit.generation + 1
  buckets.fill(limit, found)
  if not limit.peek then buckets.save(limit, 'PX', buckets.ttl(limit)) end
end
function buckets.drop(limit)
  local edge = limit.index - parts
  while limit.held > 0 and limit.oldest < edge do
    local newer, index, permits = string.match(limit.tail, '^(.*);(%d+)=(%d+)$')
    if not index then
      limit.held, limit.rest = 0, 0
    elseif index + 0 < edge then
      limit.tail, limit.rest = newer, limit.rest - permits
      if newer == '' then limit.oldest = limit.top end
    else
      limit.oldest = index + 0
    end
  end
end
function buckets.read(limit)
  limit.index = math.floor(now / span(limit))
  buckets.load(limit)
  buckets.repair(limit)
  buckets.drop(limit)
  limit.live = limit.held + limit.rest
  limit.wait = buckets.wait(limit, limit.cost)
end
function buckets.wait(limit, cost)
  local excess, last = limit.live + cost - limit.quota, limit.oldest
  if excess <= 0 then return 0 end
  if excess > 1 then
    local found = buckets.list(limit)
    for i = #found - 1, 1, -2 do
      last, excess = found[i], excess - found[i + 1]
      if excess <= 0 then break end
    end
  end
  return (last + parts + 1) * span(limit) - now
end
function buckets.look(limit)
  limit.remaining, limit.stamp, limit.reset = math.max(limit.quota - limit.live, 0), 0, 0
  if limit.live > 0 then limit.reset = buckets.wait(limit, limit.remaining + 1) end
end
function buckets.spend(limit)
  local opens = limit.index > limit.top
  if opens then
    if limit.held > 0 then
      limit.tail = format(';%.0f=%.0f%s', limit.top, limit.held, limit.tail)
      limit.rest = limit.rest + limit.held
    end
    limit.top, limit.held = limit.index, 0
  end
  if limit.live == 0 then limit.oldest = limit.top end
  limit.held, limit.live = limit.held + limit.cost, limit.live + limit.cost
  if opens then
    buckets.save(limit, 'PX', buckets.ttl(limit))
  else
    buckets.save(limit, 'KEEPTTL')
  end
  buckets.look(limit)
  limit.stamp = limit.top * 256 + limit.generation % 256
end
function buckets.refund(limit)
  buckets.load(limit)
  local bucket = math.floor(limit.stamp / 256)
  if limit.generation % 256 ~= limit.stamp % 256 then return 0 end
  if bucket < math.floor(now / span(limit)) - parts then return 0 end
  local found = buckets.list(limit)
  for i = 1, #found, 2 do
    if found[i] == bucket and found[i + 1] >= limit.cost then
      found[i + 1] = found[i + 1] - limit.cost
      buckets.fill(limit, found)
      if limit.held == 0 and limit.generation == 0 then
        call('DEL', limit.key)
      else
        buckets.save(limit, 'KEEPTTL')
      end
      return limit.cost
    end
  end
  return 0
end
function buckets.forget(key)
  local stored = call('GET', key)
  if not stored then return 0 end
  local generation = string.match(stored, '^(%d+) ')
  if generation then
    call('SET', key, format('%.0f 0 0 0 0', generation + 1), 'KEEPTTL')
  else
    call('DEL', key)
  end
  return 1
end
local log = {}
function log.newest(limit)
  local found = call('ZREVRANGE', limit.key, 0, 0, 'WITHSCORES')
  return found[2] and found[2] + 0
end
function log.repair(limit)
  local ahead = limit.newest + 1 - now - lead(limit.window)
  if ahead <= 0 then return end
  if limit.peek then
    limit.ahead, limit.newest = ahead, limit.newest - ahead
    return
  end
  local all, kept = call('ZRANGE', limit.key, 0, -1, 'WITHSCORES'), {}
  for i = 1, #all, 2 do
    local stamp = all[i + 1] - ahead
    if stamp > now - limit.window then
      kept[#kept + 1], kept[#kept + 2] = int(stamp), all[i]
    end
  end
  limit.newest = limit.newest - ahead
  call('DEL', limit.key)
  chunks(kept, function(...) call('ZADD', limit.key, ...) end)
  call('PEXPIRE', limit.key, ttl(limit.newest, limit.window))
end
function log.read(limit)
  limit.ahead, limit.wait, limit.newest = 0, 0, log.newest(limit)
  if not limit.newest then return end
  log.repair(limit)
  local n = int(limit.quota - limit.cost)
  local bar = call('ZREVRANGE', limit.key, n, n, 'WITHSCORES')[2]
  if not bar then return end
  bar = bar - limit.ahead
  if bar > now - limit.window then limit.wait = bar + limit.window - now end
end
function log.look(limit)
  local edge = now - limit.window + limit.ahead
  local live = math.min(call('ZCOUNT', limit.key, '(' .. int(edge), '+inf'), limit.quota)
  limit.remaining, limit.reset, limit.stamp = limit.quota - live, 0, 0
  if live > 0 then
    local n = int(live - 1)
    local oldest = call('ZREVRANGE', limit.key, n, n, 'WITHSCORES')[2]
    limit.reset = oldest - limit.ahead + limit.window - now
  end
end
function log.spend(limit)
  local stamp = now
  if limit.newest and limit.newest >= now then stamp = limit.newest + 1 end
  call('ZREMRANGEBYSCORE', limit.key, '-inf', int(now - limit.window))
  local named, score = {}, int(stamp)
  for i = 1, limit.cost do
    named[2 * i - 1], named[2 * i] = score, limit.call .. '#' .. int(i)
  end
  chunks(named, function(...) call('ZADD', limit.key, ...) end)
  if not limit.newest or limit.newest < stamp - stamp % limit.window then
    call('PEXPIRE', limit.key, ttl(stamp, limit.window))
  end
  log.look(limit)
  limit.stamp = stamp
end
function log.admitted(limit)
  local stamp = call('ZSCORE', limit.key, limit.call .. '#1')
  if not stamp or stamp + 0 <= now - limit.window then return nil end
  local odd = true
  if call('ZSCORE', limit.key, limit.call .. '#' .. int(limit.cost)) then
    local beyond = call('ZSCORE', limit.key, limit.call .. '#' .. int(limit.cost + 1))
    if not beyond then odd = false end
  end
  return stamp + 0, odd
end
function log.refund(limit)
  local stamp = call('ZSCORE', limit.key, limit.call .. '#1')
  if not stamp or stamp + 0 ~= limit.stamp then return 0 end
  if limit.stamp <= now - limit.window then return 0 end
  local named = {}
  for i = 1, limit.cost do named[i] = limit.call .. '#' .. int(i) end
  return call('ZREM', limit.key, unpack(named))
end
local calendar = {}
function calendar.id(limit, n)
  return limit.periods:sub(24 * n - 23, 24 * n - 16)
end
function calendar.start(limit, n)
  return limit.periods:sub(24 * n - 15, 24 * n) + 0
end
function calendar.pick(limit)
  limit.last = #limit.periods / 24
  if now < calendar.start(limit, 2) or now >= calendar.start(limit, limit.last - 1) then
    return false
  end
  limit.at = limit.last - 2
  while now < calendar.start(limit, limit.at) do limit.at = limit.at - 1 end
  return true
end
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
function calendar.look(limit)
  limit.remaining, limit.stamp = math.max(limit.quota - limit.spent, 0), 0 - limit.id
  limit.reset = 0
  if limit.spent > 0 then limit.reset = calendar.start(limit, limit.at + 1) - now end
end
function calendar.spend(limit)
  call('HINCRBY', limit.key, limit.id, int(limit.cost))
  if limit.fresh then calendar.turn(limit) end
  limit.spent = limit.spent + limit.cost
  calendar.look(limit)
  limit.stamp = limit.id * 256 + limit.generation % 256
end
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
local function place(limit, word)
  if limit.algorithm == calendar then
    limit.periods = word
    return calendar.pick(limit)
  end
  limit.window = word + 0
  return true
end
local function outside(limits)
  local reply = {-1, now}
  for i = 3, 1 + 4 * limits do reply[i] = 0 end
  return reply
end
local algorithms = {w = window, b = buckets, l = log, k = calendar}
local next_key, next_word, inside = 1, 3, true
local function read_limit(name)
  local cost = ARGV[next_word + 3] + 0
  local limit = {
    key = KEYS[next_key], algorithm = algorithms[ARGV[next_word]], call = name,
    quota = ARGV[next_word + 1] + 0, cost = math.max(cost, 1), free = cost == 0,
  }
  if not place(limit, ARGV[next_word + 2]) then inside = false end
  next_key, next_word = next_key + 1, next_word + 4
  return limit
end
local function read_group()
  local n, marked = ARGV[next_word] + 0, ARGV[next_word + 3]
  local group = {
    dry = ARGV[next_word + 1] == 'd', call = ARGV[next_word + 2], limits = {},
  }
  next_word = next_word + 4
  for i = 1, n do
    group.limits[i] = read_limit(group.call)
  end
  if marked == '1' then
    group.refunded = KEYS[next_key]
    next_key = next_key + 1
  end
  return group
end
local function read_groups()
  local groups = {}
  if ARGV[2] ~= 'w' then
    local n = ARGV[2] + 0
    for i = 1, n do
      groups[i] = read_group()
    end
    return groups
  end
  for i, key in ipairs(KEYS) do
    local limit = {
      key = key, algorithm = window, cost = 1,
      quota = ARGV[2 * i + 1] + 0, window = ARGV[2 * i + 2] + 0,
    }
    groups[i] = {call = '', limits = {limit}}
  end
  return groups
end
local function not_inside(groups)
  local n = #groups
  for _, group in ipairs(groups) do n = n + 4 * #group.limits end
  local reply = {-1, now}
  for i = 3, n do reply[i] = 0 end
  return reply
end
local function admitted_before(group)
  local before, odd, longest = false, false, 0
  for _, limit in ipairs(group.limits) do
    if limit.algorithm == log then
      longest = math.max(longest, limit.window)
      limit.before, limit.odd = log.admitted(limit)
      if limit.before then before = true end
      if limit.odd then odd = true end
    end
  end
  if group.refunded then
    local key, name = group.refunded, group.call
    group.marked = call('ZSCORE', key, name)
    if group.marked and group.marked + 0 > now - longest then return 2 end
  end
  if odd then return 3 end
  if before then return 2 end
  return nil
end
local function decide(group)
  group.verdict = 1
  for _, limit in ipairs(group.limits) do
    limit.algorithm.read(limit)
    if limit.wait > 0 then group.verdict = 0 end
  end
  if group.call ~= '' then
    group.verdict = admitted_before(group) or group.verdict
  end
end
local groups, pass, reply = read_groups(), true, {}
if not inside then return not_inside(groups) end
for _, group in ipairs(groups) do
  decide(group)
  if not group.dry and (group.verdict == 0 or group.verdict == 3) then pass = false end
end
for i, group in ipairs(groups) do
  if group.verdict == 1 and not pass then group.verdict = 4 end
  reply[i] = group.verdict
end
for _, group in ipairs(groups) do
  if group.marked and group.verdict == 1 then
    local key, name = group.refunded, group.call
    call('ZREM', key, name)
  end
  for _, limit in ipairs(group.limits) do
    if group.verdict == 1 and not limit.free then
      limit.algorithm.spend(limit)
    else
      limit.algorithm.look(limit)
      limit.stamp = limit.before or limit.stamp
    end
    report(reply, limit)
  end
end
return reply
