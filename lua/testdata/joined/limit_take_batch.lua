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
function buckets.repair(limit, ahead)
  limit.top, limit.generation, limit.dead = limit.top - ahead, limit.generation + 1, {}
  if limit.peek then return end
  local set = {}
  for age, spent in pairs(limit.spent) do
    set[#set + 1], set[#set + 2] = int(limit.index - age), int(spent)
  end
  call('DEL', limit.key)
  call('HSET', limit.key, 'g', int(limit.generation), unpack(set))
  call('PEXPIRE', limit.key, buckets.ttl(limit))
end
function buckets.read(limit)
  limit.index, limit.top, limit.generation = math.floor(now / span(limit)), -1, 0
  limit.spent, limit.dead, limit.live = {}, {}, 0
  local fields = call('HGETALL', limit.key)
  for i = 1, #fields, 2 do
    if fields[i] == 'g' then
      limit.generation = fields[i + 1] + 0
    else
      limit.top = math.max(limit.top, fields[i] + 0)
    end
  end
  local ahead = math.max(limit.top - limit.index - 1, 0)
  for i = 1, #fields, 2 do
    if fields[i] ~= 'g' then
      local age = limit.index - (fields[i] - ahead)
      if age > parts then
        limit.dead[#limit.dead + 1] = fields[i]
      else
        limit.spent[age] = fields[i + 1] + 0
        limit.live = limit.live + limit.spent[age]
      end
    end
  end
  if ahead > 0 then buckets.repair(limit, ahead) end
  limit.wait = buckets.wait(limit, limit.cost)
end
function buckets.wait(limit, cost)
  local excess, wait = limit.live + cost - limit.quota, 0
  for age = parts, -1, -1 do
    if excess <= 0 then break end
    excess = excess - (limit.spent[age] or 0)
    wait = (limit.index - age + parts + 1) * span(limit) - now
  end
  return wait
end
function buckets.look(limit)
  limit.remaining, limit.stamp, limit.reset = math.max(limit.quota - limit.live, 0), 0, 0
  if limit.live > 0 then limit.reset = buckets.wait(limit, limit.remaining + 1) end
end
function buckets.spend(limit)
  local before = limit.top
  if limit.index > limit.top then limit.top = limit.index end
  call('HINCRBY', limit.key, int(limit.top), int(limit.cost))
  if limit.top > before then
    if #limit.dead > 0 then call('HDEL', limit.key, unpack(limit.dead)) end
    call('PEXPIRE', limit.key, buckets.ttl(limit))
  end
  local age = limit.index - limit.top
  limit.spent[age] = (limit.spent[age] or 0) + limit.cost
  limit.live = limit.live + limit.cost
  buckets.look(limit)
  limit.stamp = limit.top * 256 + limit.generation % 256
end
function buckets.refund(limit)
  local bucket = math.floor(limit.stamp / 256)
  local held = call('HMGET', limit.key, int(bucket), 'g')
  if (held[2] or 0) % 256 ~= limit.stamp % 256 then return 0 end
  if bucket < math.floor(now / span(limit)) - parts then return 0 end
  if (held[1] or 0) + 0 < limit.cost then return 0 end
  if held[1] + 0 == limit.cost then
    call('HDEL', limit.key, int(bucket))
  else
    call('HINCRBY', limit.key, int(bucket), int(-limit.cost))
  end
  return limit.cost
end
local algorithms = {w = window, b = buckets}
local function free(limit, most)
  if limit.wait > 0 then return 0 end
  if limit.algorithm ~= window then
    limit.algorithm.look(limit)
    return math.min(limit.remaining, most)
  end
  if not limit.newest then return math.min(limit.quota, most) end
  if most <= limit.quota and not window.at(limit, limit.quota - most + 1) then
    return most
  end
  return limit.quota - window.front(limit)
end
local calls, limits = ARGV[2] + 0, {}
local allowed = calls
for i, key in ipairs(KEYS) do
  local limit = {
    key = key, algorithm = algorithms[ARGV[3 * i]], cost = 1,
    quota = ARGV[3 * i + 1] + 0, window = ARGV[3 * i + 2] + 0,
  }
  limit.algorithm.read(limit)
  allowed = free(limit, allowed)
  limits[i] = limit
end
local reply = {allowed}
for _, limit in ipairs(limits) do
  if allowed == 0 then
    limit.algorithm.look(limit)
  else
    limit.cost = allowed
    limit.algorithm.spend(limit)
    if allowed < calls and limit.remaining <= 0 then limit.wait = limit.reset end
  end
  report(reply, limit)
end
return reply
