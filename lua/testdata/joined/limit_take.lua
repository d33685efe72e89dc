local call, format = redis.call, string.format
local now, clock
if ARGV[1] == '' then
  clock = call('TIME')
  now = clock[1] * 1000000 + clock[2]
else
  now = ARGV[1] + 0
end
if #KEYS == 1 and ARGV[3] == 'w' and ARGV[2] == '1' then
  local key, quota, window = KEYS[1], ARGV[4] + 0, ARGV[5] + 0
  local edge = now - window
  local bar = call('LINDEX', key, '-' .. ARGV[4])
  bar = bar and bar + 0
  if bar and bar > edge and bar <= now then
    return {0, 0, bar - edge, bar - edge, 0}
  end
  if not (bar and bar > edge) then
    local head = call('LRANGE', key, '0', '3')
    local newest = head[4] and call('LINDEX', key, '-1') or head[#head]
    newest = newest and newest + 0
    if not (newest and newest >= now) then
      local oldest, dead = now, 0
      if newest and newest > edge then
        oldest = head[1] + 0
        while oldest and oldest <= edge do
          dead = dead + 1
          if dead == 4 then
            for i, s in ipairs(call('LRANGE', key, '4', '15')) do head[4 + i] = s end
          end
          local after = head[dead + 1]
          oldest = after and after + 0
        end
      elseif newest then
        call('DEL', key)
      end
      if oldest then
        if dead == 1 then
          call('LPOP', key)
        elseif dead > 1 then
          call('LTRIM', key, dead, '-1')
        end
        local stamp = clock and #clock[2] == 6 and clock[1] .. clock[2] or format('%.0f', now)
        local live = call('RPUSH', key, stamp)
        if not newest or newest < now - now % window then
          call('PEXPIRE', key, format('%.0f', math.ceil(window / 500) + 1000))
        end
        return {1, quota - live, 0, oldest - edge, now}
      end
    end
  end
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
local cost, allowed, limits = ARGV[2] + 0, 1, {}
for i, key in ipairs(KEYS) do
  local a = ARGV[3 * i]
  local l = {key = key, algorithm = a == 'w' and window or buckets, cost = cost, quota = ARGV[3 * i + 1] + 0, window = ARGV[3 * i + 2] + 0}
  l.algorithm.read(l)
  if l.wait > 0 then allowed = 0 end
  limits[i] = l
end
local reply = {allowed}
for _, l in ipairs(limits) do
  if allowed == 1 then l.algorithm.spend(l) else l.algorithm.look(l) end
  report(reply, l)
end
return reply
