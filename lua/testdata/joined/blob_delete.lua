local call, format = redis.call, string.format
local now, clock
if ARGV[1] == '' then
  clock = call('TIME')
  now = clock[1] * 1000000 + clock[2]
else
  now = ARGV[1] + 0
end
local function int(number)
  return format('%.0f', number)
end
local ms = math.floor(now / 1000)
local function look(key)
  local value = call('GET', key)
  if not value then return nil end
  local mark, ends = string.match(value, '^(%-?)(%d+)')
  if not ends or ms >= ends + 0 then return nil end
  if mark == '-' then return ends + 0 end
  return ends + 0, string.sub(value, #ends + 2)
end
local ends, data = look(KEYS[1])
local left = math.min(math.max((ends or 0) - ms, ARGV[2] + 0), ARGV[3] + 0)
call('DEL', KEYS[1])
call('SET', KEYS[1], '-' .. int(ms + left), 'PX', int(left))
return {data and 1 or 0}
