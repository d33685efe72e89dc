-- fastcalendar: decides most calls of limit_take_calendar, and returns from the
-- script. It takes one calendar limit, whose key holds permits of the present period. The
-- rules are those of parts/calendar.lua without its tables and functions. The first call
-- of a period, and what is rare, fall through to the body of the script, always before
-- the first write.
-- NEEDS now: call, now
if #KEYS == 1 then
  local key, cost, quota, periods = KEYS[1], ARGV[2] + 0, ARGV[4] + 0, ARGV[5]
  if now >= periods:sub(33, 48) + 0 and now < periods:sub(-40, -25) + 0 then
    local at = #periods - 48
    while now < periods:sub(at - 15, at) + 0 do at = at - 24 end
    local id, rest = periods:sub(at - 23, at - 16), periods:sub(at + 9, at + 24) - now
    local held = call('HMGET', key, id, 'g')
    if held[1] then
      local spent = held[1] + cost
      if spent <= quota then
        call('HINCRBY', key, id, ARGV[2])
        return {1, quota - spent, 0, rest, id * 256 + (held[2] or 0) % 256}
      end
      local after = call('HMGET', key, periods:sub(at + 1, at + 8))
      if (after[1] or 0) + cost <= quota then
        return {0, math.max(quota - held[1], 0), rest, rest, 0 - id}
      end
    end
  end
end
