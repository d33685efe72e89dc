-- fastbuckets: decides most calls of limit_take with one SlidingBuckets limit, of any
-- cost, and returns from the script. The rules are those of parts/buckets.lua without its
-- tables and functions. What is rare (a newest bucket that is ahead of the clock, a cost
-- that waits for more than the oldest bucket, a quota that was lowered) falls through to
-- the body of the script, always before the first write.
-- NEEDS now: call, format, now
if #KEYS == 1 and ARGV[3] == 'b' then
  local key, cost, quota, parts = KEYS[1], ARGV[2] + 0, ARGV[4] + 0, 16
  local span = math.ceil(ARGV[5] / parts)
  local index = math.floor(now / span)
  local stored = call('GET', key) or '0 0 0 0 0'
  local generation, top, held, rest, oldest, tail =
    string.match(stored, '^(%d+) (%d+) (%d+) (%d+) (%d+)(.*)$')
  local newest, first, live = top + 0, oldest + 0, held + rest
  local opens = index > newest
  if opens then
    local edge = index - parts
    while live > 0 and first < edge do
      local newer, before, permits = string.match(tail, '^(.*);(%d+)=(%d+)$')
      if not before then
        live = 0
      elseif before + 0 < edge then
        live, tail = live - permits, newer
        if newer == '' then first = newest end
      else
        first = before + 0
      end
    end
    if live == 0 then
      first = index
    else
      tail = format(';%s=%s%s', top, held, tail)
    end
  end
  if opens or index == newest then
    local remaining = quota - live - cost
    local wait = (first + parts + 1) * span - now
    if remaining >= 0 then
      if opens then
        call('SET', key,
          format('%s %.0f %s %.0f %.0f%s', generation, index, ARGV[2], live, first, tail),
          'PX', format('%.0f', math.ceil(span * (parts + 2) / 1000) + 1000))
      else
        call('SET', key,
          format('%s %s %.0f %s %s%s', generation, top, held + cost, rest, oldest, tail),
          'KEEPTTL')
      end
      return {1, remaining, 0, wait, index * 256 + generation % 256}
    end
    if remaining == -1 then return {0, cost - 1, wait, wait, 0} end
  end
end
