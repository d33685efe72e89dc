-- flatpath: decides most calls of limit_take_all that have form w, and returns from the
-- script: enforced SlidingWindow limits with cost 1, whose lists are in their usual
-- state. It is parts/fastpath.lua for several keys: it reads all of them, then decides,
-- then writes. What is rare falls through to the body of the script, always before the
-- first write.
-- NEEDS now: call, clock, format, now
if ARGV[2] == 'w' then
  local n, usual, allowed = #KEYS, true, true
  local waits, heads, newests, deads = {}, {}, {}, {}
  for i = 1, n do
    local key, edge = KEYS[i], now - ARGV[2 * i + 2]
    local bar = call('LINDEX', key, format('-%s', ARGV[2 * i + 1]))
    bar = bar and bar + 0
    if bar and bar > edge then
      if bar > now then usual = false break end
      waits[i], allowed = bar - edge, false
    else
      local head = call('LRANGE', key, '0', '3')
      local newest = head[4] and call('LINDEX', key, '-1') or head[#head]
      newest = newest and newest + 0
      if newest and newest >= now then usual = false break end
      waits[i], newests[i] = 0, newest or 0
      if newest and newest > edge then
        local oldest, dead = head[1] + 0, 0
        while oldest and oldest <= edge do
          dead = dead + 1
          -- This takes two steps, as in parts/fastpath.lua.
          local after = head[dead + 1]
          oldest = after and after + 0
        end
        if not oldest then usual = false break end
        heads[i], deads[i] = oldest, dead
      end
    end
  end
  if usual then
    local reply, place, word = {}, n, nil
    if clock and #clock[2] == 6 then
      word = clock[1] .. clock[2]
    else
      word = format('%.0f', now)
    end
    for i = 1, n do
      local key, quota, window = KEYS[i], ARGV[2 * i + 1] + 0, ARGV[2 * i + 2] + 0
      local wait, oldest, dead = waits[i], heads[i], deads[i]
      if wait > 0 then
        reply[i], reply[place + 1], reply[place + 2] = 0, 0, wait
        reply[place + 3], reply[place + 4] = wait, 0
      elseif not allowed then
        local live, reset = 0, 0
        if oldest then
          live, reset = call('LLEN', key) - dead, oldest + window - now
        end
        reply[i], reply[place + 1], reply[place + 2] = 4, quota - live, 0
        reply[place + 3], reply[place + 4] = reset, 0
      else
        local newest = newests[i]
        if not oldest then
          if newest > 0 then call('DEL', key) end
          oldest = now
        elseif dead == 1 then
          call('LPOP', key)
        elseif dead > 1 then
          call('LTRIM', key, dead, '-1')
        end
        local live = call('RPUSH', key, word)
        if newest < now - now % window then
          call('PEXPIRE', key, format('%.0f', math.ceil(window / 500) + 1000))
        end
        reply[i], reply[place + 1], reply[place + 2] = 1, quota - live, 0
        reply[place + 3], reply[place + 4] = oldest + window - now, now
      end
      place = place + 4
    end
    return reply
  end
end
