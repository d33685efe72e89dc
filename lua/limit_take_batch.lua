-- limit_take_batch: limit_take for many calls of cost 1 for one key, one after the other.
-- PARTS       now, int, limit, window, buckets
-- KEYS[i]     limit      one a limit: list (w) or string (b), all of one hash tag
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]     calls      1 .. 1,000
-- ARGV[3i]    algorithm  w SlidingWindow, b SlidingBuckets
-- ARGV[3i+1]  quota      permits a window, 1 .. 4,096 (w) or 10^9 (b)
-- ARGV[3i+2]  window     µs, 10^3 .. 400 days
-- RETURNS     {how many calls are allowed, then for each limit: remaining permits after
--             the last of them, retry after µs of those that are denied (0: this limit
--             lets them pass), reset after µs, stamp that the allowed share (0: none)}
-- EXPIRES     each limit, at the latest 2.25 windows and a second after its last permit
-- COST        w: 5 to 12 commands admitted, 2 denied; O(calls), and O(log quota) with a
--             long dead tail; b: 3 commands admitted, 2 denied; the repair after a
--             clock step O(quota), once
-- RETRY       unsafe: running it twice spends twice
local algorithms = {w = window, b = buckets}

-- free returns how many calls the limit lets pass, at most most. The length of a list
-- does not tell: dead permits may be in it. Other algorithms have read all they need.
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
    -- All that are allowed are spent at once, with one stamp. A limit that is full then
    -- lets the next call pass when its first permit comes back.
    limit.cost = allowed
    limit.algorithm.spend(limit)
    if allowed < calls and limit.remaining <= 0 then limit.wait = limit.reset end
  end
  report(reply, limit)
end
return reply
