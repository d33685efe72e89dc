-- blob: what the blob scripts share. A blob is a string, '<end, unix ms>.<data>'; a tombstone is '-<end, unix ms>'.
local ms = math.floor(now / 1000)

-- int renders a whole number for a Redis command: tostring and .. keep 14 digits only.
local function int(n)
  return format('%.0f', n)
end

-- look returns when what is under a key ends, unix ms, and the data of a blob; a tombstone has none. Nothing, or nothing any
-- more (keys may outlive their TTL), is nil.
local function look(key)
  local value = call('GET', key)
  if not value then return nil end
  local mark, ends = string.match(value, '^(%-?)(%d+)')
  if not ends or ms >= ends + 0 then return nil end
  if mark == '-' then return ends + 0 end
  return ends + 0, string.sub(value, #ends + 2)
end
