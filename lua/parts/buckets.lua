-- buckets: SlidingBuckets, the conservative count for any quota. The key is a hash from
-- the absolute index of a sub-window to the permits spent in it. A permit counts until
-- the end of its bucket + window: at most one bucket too long, and never too short. Field
-- g counts the repairs: after one, older refunds name a bucket that has another number.
-- NEEDS now: call, now; int: int
local parts = 16
local buckets = {}

-- span is the length of a bucket, µs.
local function span(limit)
  return math.ceil(limit.window / parts)
end

-- ttl returns how long the hash stays, ms: until the newest bucket counts no more.
function buckets.ttl(limit)
  return int(math.ceil(span(limit) * (parts + 2 + limit.top - limit.index) / 1000) + 1000)
end

-- repair renumbers the buckets so that the newest is one ahead of the clock. A bucket
-- further ahead shows that the clock stepped back.
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

-- read keeps what counts by its age in buckets, -1 to parts. Kept by the absolute index,
-- the embedded server would make an array up to that index.
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

-- wait returns how long until the cost passes, µs: until the buckets that must go first
-- count no more.
function buckets.wait(limit, cost)
  local excess, wait = limit.live + cost - limit.quota, 0
  for age = parts, -1, -1 do
    if excess <= 0 then break end
    excess = excess - (limit.spent[age] or 0)
    wait = (limit.index - age + parts + 1) * span(limit) - now
  end
  return wait
end

-- look tells what remains if nothing is spent.
function buckets.look(limit)
  limit.remaining, limit.stamp, limit.reset = math.max(limit.quota - limit.live, 0), 0, 0
  if limit.live > 0 then limit.reset = buckets.wait(limit, limit.remaining + 1) end
end

-- spend adds the cost to the newest bucket.
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

-- refund gives back to the bucket that was charged, while the bucket counts and holds as
-- much. A bucket in which nothing is left goes, and the hash goes with its last bucket: a
-- key that another policy denied leaves nothing behind.
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
