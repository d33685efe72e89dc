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
local function forget_hash(key)
  local fields = call('HGETALL', key)
  if #fields == 0 then return end
  local generation, buckets = 0, {}
  for i = 1, #fields, 2 do
    if fields[i] == 'g' then
      generation = fields[i + 1] + 0
    else
      buckets[#buckets + 1] = fields[i]
    end
  end
  call('HSET', key, 'g', int(generation + 1))
  if #buckets > 0 then call('HDEL', key, unpack(buckets)) end
  emptied = emptied + 1
end
for i = 1, n do
  local key, algorithm = KEYS[i], ARGV[2 * i]
  if algorithm == 'w' then
    forget_list(key, ARGV[2 * i + 1] + 0)
  elseif algorithm == 'b' then
    forget_hash(key)
  else
    emptied = emptied + call('UNLINK', key)
  end
end
if KEYS[n + 1] then emptied = emptied + call('UNLINK', KEYS[n + 1]) end
return {emptied}
