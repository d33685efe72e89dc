-- straight: one SlidingWindow limit, cost 1, a list in its usual state: most decisions there are. The rules are
-- those of parts/window.lua without its tables and functions, which cost more than the commands do. What is
-- rare (a clock that stepped back, a long dead tail) falls through to them, always before the first write.
if #KEYS == 1 and ARGV[3] == 'w' and ARGV[2] == '1' then
  local key, quota, window = KEYS[1], ARGV[4] + 0, ARGV[5] + 0
  local edge = now - window
  local bar = call('LINDEX', key, '-' .. ARGV[4])
  bar = bar and bar + 0
  if bar and bar > edge and bar <= now then
    return {0, 0, bar - edge, bar - edge, 0}
  end
  local newest = call('LINDEX', key, -1)
  newest = newest and newest + 0
  if not (bar and bar > edge) and not (newest and newest >= now) then
    local oldest, dead = now, 0
    if newest and newest > edge then
      oldest = call('LINDEX', key, 0) + 0
      if oldest <= edge then
        local after = call('LRANGE', key, 1, 4)
        repeat
          dead = dead + 1
          oldest = after[dead] and after[dead] + 0
        until not oldest or oldest > edge
      end
    elseif newest then
      call('DEL', key)
    end
    if oldest then
      if dead == 1 then
        call('LPOP', key)
      elseif dead > 1 then
        call('LTRIM', key, dead, -1)
      end
      local live = call('RPUSH', key, format('%.0f', now))
      if not newest or newest < now - now % window then
        call('PEXPIRE', key, format('%.0f', math.ceil(window / 500) + 1000))
      end
      return {1, quota - live, 0, oldest - edge, now}
    end
  end
end
