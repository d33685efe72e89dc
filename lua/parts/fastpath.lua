-- fastpath: decides most calls of limit_take, and returns from the script. It takes one
-- SlidingWindow limit, cost 1, whose list is in its usual state. The rules are those of
-- parts/window.lua without its tables and functions, which cost more than the commands
-- do. What is rare (a clock that stepped back, a long dead tail) falls through to the
-- body of the script, always before the first write.
-- NEEDS now: call, clock, format, now
if #KEYS == 1 and ARGV[3] == 'w' and ARGV[2] == '1' then
  local key, quota, window = KEYS[1], ARGV[4] + 0, ARGV[5] + 0
  local edge = now - window
  local bar = call('LINDEX', key, '-' .. ARGV[4])
  bar = bar and bar + 0
  if bar and bar > edge and bar <= now then
    return {0, 0, bar - edge, bar - edge, 0}
  end
  if not (bar and bar > edge) then
    -- Four stamps are the whole list of most keys. Of most other keys they hold the first
    -- live one.
    local head = call('LRANGE', key, '0', '3')
    local newest = head[4] and call('LINDEX', key, '-1') or head[#head]
    newest = newest and newest + 0
    if not (newest and newest >= now) then
      local oldest, dead = now, 0
      if newest and newest > edge then
        oldest = head[1] + 0
        while oldest and oldest <= edge do
          dead = dead + 1
          if dead == 4 then
            for i, stamp in ipairs(call('LRANGE', key, '4', '15')) do
              head[4 + i] = stamp
            end
          end
          -- This takes two steps, because the embedded server's Lua leaves a variable as
          -- it was when `x = t[i] and ...` meets nil.
          local after = head[dead + 1]
          oldest = after and after + 0
        end
      elseif newest then
        call('DEL', key)
      end
      if oldest then
        if dead == 1 then
          call('LPOP', key)
        elseif dead > 1 then
          call('LTRIM', key, dead, '-1')
        end
        -- The clock's two words are the stamp, unless the second lost leading zeros. To
        -- join them costs less than to format the number.
        local word
        if clock and #clock[2] == 6 then
          word = clock[1] .. clock[2]
        else
          word = format('%.0f', now)
        end
        local live = call('RPUSH', key, word)
        if not newest or newest < now - now % window then
          call('PEXPIRE', key, format('%.0f', math.ceil(window / 500) + 1000))
        end
        return {1, quota - live, 0, oldest - edge, now}
      end
    end
  end
end
