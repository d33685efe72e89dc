-- buckets: SlidingBuckets, the conservative count for any quota. A hash from the absolute index of a sub-window to the
-- permits spent in it. A permit counts until the end of its bucket + window, so at most one bucket too long and never too short.
-- Field g counts the repairs: a bucket was renumbered, and older refunds name another one.
local parts = 16
local buckets = {}

-- span is the length of a bucket, µs.
local function span(l)
  return math.ceil(l.window / parts)
end

-- ttl, ms: until the newest bucket counts no more.
function buckets.ttl(l)
  return int(math.ceil(span(l) * (parts + 2 + l.top - l.index) / 1000) + 1000)
end

-- repair renumbers the buckets so that the newest is one ahead of the clock: more is the trace of a clock that stepped back.
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

-- read keeps what counts by its age in buckets, -1 to parts: the embedded server would make an array up to an absolute index.
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

-- wait is how long until cost passes, µs: until the buckets that must go first count no more.
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

-- refund gives back to the bucket that was charged, while it counts and holds as much. A bucket in which nothing is left
-- goes, and with the last one the hash: a key that was denied by another policy leaves nothing behind.
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
