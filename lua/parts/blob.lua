-- blob: what the blob scripts share. A blob is a string, '<end, unix ms>.<data>'. A
-- tombstone is '-<end, unix ms>'.
-- NEEDS now: call, now
local ms = math.floor(now / 1000)

-- look returns when the value of a key ends, unix ms, and the data of a blob; a tombstone
-- has no data. It returns nil where nothing is, or nothing any more: keys may outlive
-- their TTL.
local function look(key)
  local value = call('GET', key)
  if not value then return nil end
  local mark, ends = string.match(value, '^(%-?)(%d+)')
  if not ends or ms >= ends + 0 then return nil end
  if mark == '-' then return ends + 0 end
  return ends + 0, string.sub(value, #ends + 2)
end
