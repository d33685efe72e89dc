local call, format = redis.call, string.format
local now, clock
if ARGV[1] == '' then
  clock = call('TIME')
  now = clock[1] * 1000000 + clock[2]
else
  now = ARGV[1] + 0
end
local function int(n)
  return format('%.0f', n)
end
local function lead(window)
  return math.min(math.floor(window / 4), 5000000)
end
local era = 3000000000000000
local function ttl(s, window)
  return int(math.ceil((s - now + 2 * window) / 1000) + 1000)
end
local function trace(key, window, its)
  call('RPUSH', key, int(now - window + its))
  call('PEXPIRE', key, ttl(now - window, window))
end
local function chunks(items, f)
  for i = 1, #items, 1000 do
    f(unpack(items, i, math.min(i + 999, #items)))
  end
end
local function report(reply, l)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = math.max(l.remaining, 0), l.wait, l.reset, l.stamp
end
local window = {}
function window.at(l, n)
  local s = call('LINDEX', l.key, int(-n))
  s = s and s % era - l.ahead
  return s and s > l.edge and s
end
function window.repair(l)
  local ahead = l.newest + 1 - now - lead(l.window)
  if ahead <= 0 then return false end
  l.newest = l.newest - ahead
  if l.peek then
    l.ahead = ahead
    return true
  end
  local kept = {}
  l.era = (l.era + era) % (3 * era)
  for _, s in ipairs(call('LRANGE', l.key, 0, -1)) do
    s = s % era - ahead
    if s > l.edge then kept[#kept + 1] = int(s + l.era) end
  end
  call('DEL', l.key)
  chunks(kept, function(...) call('RPUSH', l.key, ...) end)
  call('PEXPIRE', l.key, ttl(l.newest, l.window))
  return true
end
function window.read(l)
  l.ahead, l.era, l.edge = 0, 0, now - l.window
  l.bar = window.at(l, l.quota - l.cost + 1)
  if not (l.bar and l.bar <= now) then
    l.newest = call('LINDEX', l.key, -1)
    if l.newest then
      l.era = l.newest - l.newest % era
      l.newest = l.newest - l.era
      if window.repair(l) then l.bar = window.at(l, l.quota - l.cost + 1) end
    end
  end
  l.wait = l.bar and l.bar - l.edge or 0
end
function window.live(l, lo, hi, oldest)
  while hi - lo > 64 do
    local mid = math.ceil((lo + hi) / 2)
    local s = window.at(l, mid)
    if s then lo, oldest = mid, s else hi = mid - 1 end
  end
  if hi > lo then
    local found = call('LRANGE', l.key, int(-hi), int(-lo - 1))
    for i, s in ipairs(found) do
      s = s % era - l.ahead
      if s > l.edge then return lo + #found - i + 1, s end
    end
  end
  return lo, oldest
end
function window.front(l)
  local length = call('LLEN', l.key)
  local found = call('LRANGE', l.key, 0, 4)
  for i, s in ipairs(found) do
    s = s % era - l.ahead
    if s > l.edge then return length - i + 1, s end
  end
  return window.live(l, 0, length - #found)
end
function window.look(l)
  local live, oldest
  if l.wait > 0 then
    live, oldest = window.live(l, l.quota - l.cost + 1, l.quota, l.bar)
  elseif l.newest then
    live, oldest = window.front(l)
  else
    live = 0
  end
  l.remaining, l.stamp = l.quota - live, 0
  l.reset = oldest and oldest - l.edge or 0
end
function window.spend(l)
  local s, live, oldest = now, 0, nil
  if l.newest and l.newest > l.edge then
    if l.newest >= now then s = l.newest + 1 end
    oldest = call('LINDEX', l.key, 0) % era
    if oldest <= l.edge then
      live, oldest = window.front(l)
      call('LTRIM', l.key, int(-live), -1)
    end
  elseif l.newest then
    call('DEL', l.key)
    if l.newest <= l.edge - lead(l.window) then l.era = 0 end
    l.newest = nil
  end
  if l.cost == 1 then
    live = call('RPUSH', l.key, int(s + l.era))
  else
    local stamps, stamp = {}, int(s + l.era)
    for i = 1, l.cost do stamps[i] = stamp end
    chunks(stamps, function(...) live = call('RPUSH', l.key, ...) end)
  end
  if not l.newest or l.newest < s - s % l.window then
    call('PEXPIRE', l.key, ttl(s, l.window))
  end
  l.remaining, l.stamp = l.quota - live, s + l.era
  l.reset = (oldest or s) - l.edge
end
function window.refund(l)
  if l.stamp % era <= now - l.window then return 0 end
  local given = call('LREM', l.key, int(-l.cost), int(l.stamp))
  if given > 0 and l.stamp >= era and call('LLEN', l.key) == 0 then
    trace(l.key, l.window, l.stamp - l.stamp % era)
  end
  return given
end
local parts = 16
local buckets = {}
local function span(l)
  return math.ceil(l.window / parts)
end
function buckets.ttl(l)
  return int(math.ceil(span(l) * (parts + 2 + l.top - l.index) / 1000) + 1000)
end
function buckets.repair(l, ahead)
  l.top, l.generation, l.dead = l.top - ahead, l.generation + 1, {}
  if l.peek then return end
  local set = {}
  for age, n in pairs(l.spent) do
    set[#set + 1], set[#set + 2] = int(l.index - age), int(n)
  end
  call('DEL', l.key)
  call('HSET', l.key, 'g', int(l.generation), unpack(set))
  call('PEXPIRE', l.key, buckets.ttl(l))
end
function buckets.read(l)
  l.index, l.top, l.generation, l.spent, l.dead, l.live = math.floor(now / span(l)), -1, 0, {}, {}, 0
  local fields = call('HGETALL', l.key)
  for i = 1, #fields, 2 do
    if fields[i] == 'g' then
      l.generation = fields[i + 1] + 0
    else
      l.top = math.max(l.top, fields[i] + 0)
    end
  end
  local ahead = math.max(l.top - l.index - 1, 0)
  for i = 1, #fields, 2 do
    if fields[i] ~= 'g' then
      local age = l.index - (fields[i] - ahead)
      if age > parts then
        l.dead[#l.dead + 1] = fields[i]
      else
        l.spent[age] = fields[i + 1] + 0
        l.live = l.live + l.spent[age]
      end
    end
  end
  if ahead > 0 then buckets.repair(l, ahead) end
  l.wait = buckets.wait(l, l.cost)
end
function buckets.wait(l, cost)
  local excess, wait = l.live + cost - l.quota, 0
  for age = parts, -1, -1 do
    if excess <= 0 then break end
    excess = excess - (l.spent[age] or 0)
    wait = (l.index - age + parts + 1) * span(l) - now
  end
  return wait
end
function buckets.look(l)
  l.remaining, l.stamp = math.max(l.quota - l.live, 0), 0
  l.reset = l.live > 0 and buckets.wait(l, l.remaining + 1) or 0
end
function buckets.spend(l)
  local before = l.top
  if l.index > l.top then l.top = l.index end
  call('HINCRBY', l.key, int(l.top), int(l.cost))
  if l.top > before then
    if #l.dead > 0 then call('HDEL', l.key, unpack(l.dead)) end
    call('PEXPIRE', l.key, buckets.ttl(l))
  end
  local age = l.index - l.top
  l.spent[age], l.live = (l.spent[age] or 0) + l.cost, l.live + l.cost
  buckets.look(l)
  l.stamp = l.top * 256 + l.generation % 256
end
function buckets.refund(l)
  local j = math.floor(l.stamp / 256)
  local held = call('HMGET', l.key, int(j), 'g')
  if (held[2] or 0) % 256 ~= l.stamp % 256 then return 0 end
  if j < math.floor(now / span(l)) - parts or (held[1] or 0) + 0 < l.cost then return 0 end
  if held[1] + 0 == l.cost then
    call('HDEL', l.key, int(j))
  else
    call('HINCRBY', l.key, int(j), int(-l.cost))
  end
  return l.cost
end
local log = {}
function log.newest(l)
  local found = call('ZREVRANGE', l.key, 0, 0, 'WITHSCORES')
  return found[2] and found[2] + 0
end
function log.repair(l)
  local ahead = l.newest + 1 - now - lead(l.window)
  if ahead <= 0 then return end
  if l.peek then
    l.ahead, l.newest = ahead, l.newest - ahead
    return
  end
  local all, kept = call('ZRANGE', l.key, 0, -1, 'WITHSCORES'), {}
  for i = 1, #all, 2 do
    local s = all[i + 1] - ahead
    if s > now - l.window then
      kept[#kept + 1], kept[#kept + 2] = int(s), all[i]
    end
  end
  l.newest = l.newest - ahead
  call('DEL', l.key)
  chunks(kept, function(...) call('ZADD', l.key, ...) end)
  call('PEXPIRE', l.key, ttl(l.newest, l.window))
end
function log.read(l)
  l.ahead, l.wait, l.newest = 0, 0, log.newest(l)
  if not l.newest then return end
  log.repair(l)
  local n = int(l.quota - l.cost)
  local bar = call('ZREVRANGE', l.key, n, n, 'WITHSCORES')[2]
  bar = bar and bar - l.ahead
  if bar and bar > now - l.window then l.wait = bar + l.window - now end
end
function log.look(l)
  local live = math.min(call('ZCOUNT', l.key, '(' .. int(now - l.window + l.ahead), '+inf'), l.quota)
  l.remaining, l.reset, l.stamp = l.quota - live, 0, 0
  if live > 0 then
    local oldest = call('ZREVRANGE', l.key, int(live - 1), int(live - 1), 'WITHSCORES')[2]
    l.reset = oldest - l.ahead + l.window - now
  end
end
function log.spend(l)
  local s = l.newest and l.newest >= now and l.newest + 1 or now
  call('ZREMRANGEBYSCORE', l.key, '-inf', int(now - l.window))
  local named, stamp = {}, int(s)
  for i = 1, l.cost do
    named[2 * i - 1], named[2 * i] = stamp, l.call .. '#' .. int(i)
  end
  chunks(named, function(...) call('ZADD', l.key, ...) end)
  if not l.newest or l.newest < s - s % l.window then
    call('PEXPIRE', l.key, ttl(s, l.window))
  end
  log.look(l)
  l.stamp = s
end
function log.admitted(l)
  local s = call('ZSCORE', l.key, l.call .. '#1')
  if not s or s + 0 <= now - l.window then return nil end
  local odd = not call('ZSCORE', l.key, l.call .. '#' .. int(l.cost)) or call('ZSCORE', l.key, l.call .. '#' .. int(l.cost + 1))
  return s + 0, odd and true
end
function log.refund(l)
  local s = call('ZSCORE', l.key, l.call .. '#1')
  if not s or s + 0 ~= l.stamp or l.stamp <= now - l.window then return 0 end
  local named = {}
  for i = 1, l.cost do named[i] = l.call .. '#' .. int(i) end
  return call('ZREM', l.key, unpack(named))
end
local algorithms = {w = window, b = buckets, l = log}
local cost, name, n = ARGV[2] + 0, ARGV[#ARGV], (#ARGV - 3) / 3
local reply, longest, admitted = {}, 0, 0
for i = 1, n do
  local l = {key = KEYS[i], algorithm = algorithms[ARGV[3 * i]], cost = cost, call = name,
    stamp = ARGV[3 * i + 1] + 0, window = ARGV[3 * i + 2] + 0}
  reply[i] = l.stamp > 0 and l.algorithm.refund(l) or 0
  if l.algorithm == log then
    longest, admitted = math.max(longest, l.window), math.max(admitted, l.stamp)
  end
end
if KEYS[n + 1] and admitted > 0 then
  call('ZREMRANGEBYSCORE', KEYS[n + 1], '-inf', int(now - longest))
  call('ZADD', KEYS[n + 1], int(admitted), name)
  call('PEXPIRE', KEYS[n + 1], ttl(now, longest))
end
return reply
