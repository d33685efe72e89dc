-- buckets: SlidingBuckets, the conservative count for any quota. The key is a string:
--   <generation> <top> <held> <rest> <oldest>;<index>=<permits>;<index>=<permits>...
-- top is the absolute index of the newest sub-window that holds permits, and held is how
-- many. The others that hold any follow, newest first. rest is their sum, and oldest is
-- the last index of all. Without permits all but the generation is 0. A permit counts
-- until the end of its bucket + window: at most one bucket too long, and never too short.
-- So no bucket in the string is more than parts older than top. The generation counts the
-- repairs: after one, older refunds name a bucket that has another number. All numbers
-- are below 10^14, which Lua reads and writes exactly. A string of another form is an
-- error reply, because there is no arithmetic on what did not match.
-- NEEDS now: call, format, now; int: int
local parts = 16
local buckets = {}

-- span is the length of a bucket, µs.
local function span(limit)
  return math.ceil(limit.window / parts)
end

-- ttl returns how long the string stays, ms: until the newest bucket counts no more.
function buckets.ttl(limit)
  return int(math.ceil(span(limit) * (parts + 2 + limit.top - limit.index) / 1000) + 1000)
end

-- load reads the string. tail is what follows its five numbers.
function buckets.load(limit)
  local stored = call('GET', limit.key) or '0 0 0 0 0'
  local generation, top, held, rest, oldest, tail =
    string.match(stored, '^(%d+) (%d+) (%d+) (%d+) (%d+)(.*)$')
  limit.generation, limit.top, limit.held = generation + 0, top + 0, held + 0
  limit.rest, limit.oldest, limit.tail = rest + 0, oldest + 0, tail
end

-- save writes the string. The words of SET that follow say how long it stays.
function buckets.save(limit, ...)
  local head = format('%.0f %.0f %.0f', limit.generation, limit.top, limit.held)
  call('SET', limit.key,
    format('%s %.0f %.0f%s', head, limit.rest, limit.oldest, limit.tail), ...)
end

-- list returns {index, permits, ...} of all buckets, newest first.
function buckets.list(limit)
  local found = {limit.top, limit.held}
  for index, permits in string.gmatch(limit.tail, ';(%d+)=(%d+)') do
    found[#found + 1], found[#found + 2] = index + 0, permits + 0
  end
  return found
end

-- fill is the reverse of list. It leaves out buckets that hold nothing.
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

-- repair renumbers the buckets so that the newest is one ahead of the clock. A bucket
-- further ahead shows that the clock stepped back.
function buckets.repair(limit)
  local ahead, found = limit.top - limit.index - 1, buckets.list(limit)
  if ahead <= 0 then return end
  for i = 1, #found, 2 do found[i] = found[i] - ahead end
  limit.generation = limit.generation + 1
  buckets.fill(limit, found)
  if not limit.peek then buckets.save(limit, 'PX', buckets.ttl(limit)) end
end

-- drop forgets the buckets that count no more. Each pass of its loop makes the tail
-- shorter or ends the loop, whatever the string holds: a script without an end would
-- block Redis.
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

-- read finds what counts: live is its sum. What must not be written, a denial or a peek,
-- leaves the dead buckets in the string.
function buckets.read(limit)
  limit.index = math.floor(now / span(limit))
  buckets.load(limit)
  buckets.repair(limit)
  buckets.drop(limit)
  limit.live = limit.held + limit.rest
  limit.wait = buckets.wait(limit, limit.cost)
end

-- wait returns how long until the cost passes, µs: until the buckets that must go first
-- count no more. The oldest is most often enough.
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

-- look tells what remains if nothing is spent.
function buckets.look(limit)
  limit.remaining, limit.stamp, limit.reset = math.max(limit.quota - limit.live, 0), 0, 0
  if limit.live > 0 then limit.reset = buckets.wait(limit, limit.remaining + 1) end
end

-- spend adds the cost, of any size, to the newest bucket. It follows a read.
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
    -- The key is there, because time stands still in a script: it keeps an expiry.
    buckets.save(limit, 'KEEPTTL')
  end
  buckets.look(limit)
  limit.stamp = limit.top * 256 + limit.generation % 256
end

-- refund gives back the cost, all or a part of what was charged, to the bucket that was
-- charged, while the bucket counts and holds as much. The string goes with its last
-- permit: a key that another policy denied leaves nothing behind. But a generation stays,
-- or an older refund would take what is spent next.
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

-- forget keeps the generation, one further, and reports whether there was a string. One
-- of another form goes as a whole, which mends the key.
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
