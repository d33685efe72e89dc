-- buckets: SlidingBuckets, the conservative count for any quota. A hash from the absolute index of a sub-window to the
-- permits spent in it. A permit counts until the end of its bucket + window, so at most one bucket too long and never too short.
-- Field g counts the repairs: a bucket was renumbered, and older refunds name another one.
local parts = 16
local buckets = {}

-- span is the length of a bucket, µs.
local function span(l)
  return math.ceil(l.window / parts)
end

-- repair renumbers the buckets so that the newest is one ahead of the clock: more is the trace of a clock that stepped back.
function buckets.repair(l)
  local ahead = l.top - l.index - 1
  if ahead <= 0 then return end
  local spent, set = {}, {}
  for j, n in pairs(l.spent) do
    if j - ahead >= l.index - parts then spent[j - ahead] = n end
  end
  l.spent, l.top, l.generation = spent, l.top - ahead, l.generation + 1
  if l.peek then return end
  for j, n in pairs(spent) do
    set[#set + 1], set[#set + 2] = int(j), int(n)
  end
  call('DEL', l.key)
  call('HSET', l.key, 'g', int(l.generation), unpack(set))
  call('PEXPIRE', l.key, buckets.ttl(l))
end

-- ttl, ms: until the newest bucket counts no more.
function buckets.ttl(l)
  return int(math.ceil(span(l) * (parts + 2 + l.top - l.index) / 1000) + 1000)
end

function buckets.read(l)
  l.index, l.top, l.generation, l.spent, l.dead = math.floor(now / span(l)), -1, 0, {}, {}
  local fields = call('HGETALL', l.key)
  for i = 1, #fields, 2 do
    if fields[i] == 'g' then
      l.generation = fields[i + 1] + 0
    else
      local j = fields[i] + 0
      l.spent[j] = fields[i + 1] + 0
      if j > l.top then l.top = j end
      if j < l.index - parts then l.dead[#l.dead + 1] = fields[i] end
    end
  end
  buckets.repair(l)
  l.live, l.wait = 0, 0
  for j = l.index - parts, l.index + 1 do
    local n = l.spent[j]
    if n and n > 0 then
      l.oldest = l.oldest or j
      l.live = l.live + n
    end
  end
  local excess = l.live + l.cost - l.quota
  for j = l.index - parts, l.index + 1 do
    if excess <= 0 then break end
    excess = excess - (l.spent[j] or 0)
    l.wait = (j + parts + 1) * span(l) - now
  end
end

function buckets.look(l)
  l.remaining, l.stamp = math.max(l.quota - l.live, 0), 0
  l.reset = l.oldest and (l.oldest + parts + 1) * span(l) - now or 0
end

function buckets.spend(l)
  local before = l.top
  if l.index > l.top then l.top = l.index end
  call('HINCRBY', l.key, int(l.top), int(l.cost))
  if l.top > before then
    if #l.dead > 0 then call('HDEL', l.key, unpack(l.dead)) end
    call('PEXPIRE', l.key, buckets.ttl(l))
  end
  l.remaining = l.quota - l.live - l.cost
  l.reset = ((l.oldest or l.top) + parts + 1) * span(l) - now
  l.stamp = l.top * 256 + l.generation % 256
end

-- refund gives back to the bucket that was charged, while it counts and holds as much.
function buckets.refund(l)
  local j = math.floor(l.stamp / 256)
  local held = call('HMGET', l.key, int(j), 'g')
  if (held[2] or 0) % 256 ~= l.stamp % 256 then return 0 end
  if j < math.floor(now / span(l)) - parts or (held[1] or 0) + 0 < l.cost then return 0 end
  call('HINCRBY', l.key, int(j), int(-l.cost))
  return l.cost
end
