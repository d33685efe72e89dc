-- slot_acquire: take a slot and spend the cost from its policy's rate limits, or neither.
-- PARTS       now, int, limit, window, buckets, slots, slot_line
-- KEYS[i]     limit      one a rate limit, none or more: list (w) or string (b)
-- KEYS[n+1]   holders    sorted set, id -> unix µs at which its slot runs out
-- KEYS[n+2]   meta       hash, see parts/slots.lua
-- KEYS[n+3]   line       sorted set, waiting process -> ticket; all keys of one hash tag
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]     cost       permits and slots, 1 .. the smallest quota
-- ARGV[3i]    algorithm  w SlidingWindow, b SlidingBuckets
-- ARGV[3i+1]  quota      permits a window, 1 .. 4,096 (w) or 10^9 (b)
-- ARGV[3i+2]  window     µs, 10^3 .. 400 days
-- ARGV[3n+3]  slots      most under way, 1 .. 4,096
-- ARGV[3n+4]  length     µs until a slot runs out that nobody prolongs
-- ARGV[3n+5]  id         of the holder, random, 22 characters of base64url
-- ARGV[3n+6]  process    that waits in line when denied, or '' to wait nowhere
-- ARGV[3n+7]  channel    how the names of the channels begin on which processes listen
-- RETURNS     {0 denied | 1 acquired | 2 held before by this id and prolonged, fence (0:
--             denied), wait µs (0: the slots do not deny; a guess), free slots, then as
--             limit_take}
-- EXPIRES     each limit as limit_take; the rest a length and a second after the last
--             acquire or beat
-- COST        slots: 11 commands acquired, 5 denied, and 2 for each process ahead in
--             line; a rate limit as limit_take
-- RETRY       safe: the second run finds the id and spends nothing
local algorithms = {w = window, b = buckets}
local cost, n, status, limits = ARGV[2] + 0, #KEYS - 3, 1, {}
for i = 1, n do
  local rate = {
    key = KEYS[i], algorithm = algorithms[ARGV[3 * i]], cost = cost,
    quota = ARGV[3 * i + 1] + 0, window = ARGV[3 * i + 2] + 0,
  }
  rate.algorithm.read(rate)
  if rate.wait > 0 then status = 0 end
  limits[i] = rate
end
local limit = {
  holders = KEYS[n + 1], meta = KEYS[n + 2], line = KEYS[n + 3],
  quota = ARGV[3 * n + 3] + 0, length = ARGV[3 * n + 4] + 0, channel = ARGV[3 * n + 7],
}
local id, process = ARGV[3 * n + 5], ARGV[3 * n + 6]
slots.read(limit)

-- The id is known when the reply of its acquire was lost.
local words, fence, wait = {}, 0, 0
if call('ZSCORE', limit.holders, id) then
  for word in string.gmatch(call('HGET', limit.meta, id) or '', '%d+') do
    words[#words + 1] = word
  end
end
if words[2] then
  status, fence = 2, words[2] + 0
elseif not line.fits(limit, cost, process) then
  status, wait = 0, 1000000
  if limit.first then wait = math.min(limit.first - now, wait) end
end

for i, rate in ipairs(limits) do
  if status == 1 then
    rate.algorithm.spend(rate)
  else
    rate.algorithm.look(rate)
    rate.stamp = (words[i + 2] or 0) + 0
  end
end
if status == 1 then
  fence = math.max(now, (call('HGET', limit.meta, 'f') or 0) + 1)
  local kept = format('%.0f %.0f', cost, fence)
  for _, rate in ipairs(limits) do kept = kept .. format(' %.0f', rate.stamp) end
  limit.held = limit.held + cost
  call('HSET', limit.meta, id, kept, 'f', int(fence), 's', int(limit.held))
end
if status > 0 then
  call('ZADD', limit.holders, int(now + limit.length), id)
  if not limit.alone then
    line.leave(limit, process)
    slots.wake(limit)
  end
elseif process ~= '' then
  line.join(limit, cost, process)
end
if status > 0 or process ~= '' then slots.expire(limit) end

local reply = {status, fence, wait, math.max(limit.quota - limit.held, 0)}
for _, rate in ipairs(limits) do report(reply, rate) end
return reply
