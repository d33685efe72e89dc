--!df flags=allow-undeclared-keys
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
local function page(index, score, after, limit)
  local from = 0
  if after ~= '' then
    local at = call('ZSCORE', index, after)
    if at and at + 0 == score + 0 then
      from = call('ZRANK', index, after) + 1
    else
      from = call('ZCOUNT', index, '-inf', '(' .. score)
    end
  end
  local found = call('ZRANGE', index, int(from), int(from + limit), 'WITHSCORES')
  local members = {}
  for i = 1, math.min(#found / 2, limit) do members[i] = found[2 * i - 1] end
  if #found / 2 <= limit then return members, '', '' end
  return members, found[2 * limit], found[2 * limit - 1]
end
local function expel(index, members)
  if #members > 0 then call('ZREM', index, unpack(members)) end
end
local function purge(index, records, members, epoch)
  local dead, keys = {}, {}
  for _, member in ipairs(members) do
    local stamp = call('HGET', records .. member, '!e')
    if not stamp then
      dead[#dead + 1] = member
    elseif (tonumber(string.match(stamp, '^%d+')) or 0) < epoch then
      dead[#dead + 1], keys[#keys + 1] = member, records .. member
    end
  end
  if #keys > 0 then call('UNLINK', unpack(keys)) end
  expel(index, dead)
  return #keys
end
local index, records = KEYS[1], KEYS[2]
local members, score, after = page(index, ARGV[3], ARGV[4], 100)
return {int(purge(index, records, members, ARGV[2] + 0)), score, after}
