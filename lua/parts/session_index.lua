-- session_index: the walk through a user's sessions, those that end first ahead. A cursor
-- is the last member of a page and its score; '' and '' begin. Every member that stays in
-- the index is met at least once: a touch moves it further on.
-- NEEDS now: call; int: int

-- page returns at most limit members from the cursor on, and the next cursor, '' and ''
-- after the last.
local function page(index, score, after, limit)
  local from = 0
  if after ~= '' then
    local at = call('ZSCORE', index, after)
    if at and at + 0 == score + 0 then
      from = call('ZRANK', index, after) + 1
    else
      -- It was removed, or touched, meanwhile: again from the first of its score.
      from = call('ZCOUNT', index, '-inf', '(' .. score)
    end
  end
  local found = call('ZRANGE', index, int(from), int(from + limit), 'WITHSCORES')
  local members = {}
  for i = 1, math.min(#found / 2, limit) do members[i] = found[2 * i - 1] end
  if #found / 2 <= limit then return members, '', '' end
  return members, found[2 * limit], found[2 * limit - 1]
end

-- expel removes members from the index, at most 1,000.
local function expel(index, members)
  if #members > 0 then call('ZREM', index, unpack(members)) end
end

-- purge ends those of the members, at most 1,000, whose sessions are stamped older than
-- the epoch. It removes them, and those without a record, from the index, and returns how
-- many sessions it ended.
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
