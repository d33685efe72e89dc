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
local emptied, n = 0, (#ARGV - 1) / 2
local function forget_list(key, window)
  local newest = call('LINDEX', key, '-1')
  emptied = emptied + call('UNLINK', key)
  if not newest then return end
  local its = newest - newest % era
  if newest - its >= now then
    trace(key, window, (its + era) % (3 * era))
  elseif its > 0 and newest - its > now - window - lead(window) then
    trace(key, window, its)
  end
end
for i = 1, n do
  local key, algorithm = KEYS[i], ARGV[2 * i]
  if algorithm == 'w' then
    forget_list(key, ARGV[2 * i + 1] + 0)
  elseif algorithm == 'b' then
    emptied = emptied + buckets.forget(key)
  else
    emptied = emptied + call('UNLINK', key)
  end
end
if KEYS[n + 1] then emptied = emptied + call('UNLINK', KEYS[n + 1]) end
return {emptied}
