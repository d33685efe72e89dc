-- session_commit: change some values of a session that lives, all of them or none.
-- PARTS    now, int, session, session_open
-- KEYS[1]  record   hash; see SessionRecord in package store
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms; not passed for a
--                   guest
-- KEYS[3]  epoch    string, unix µs: the user's sessions stamped before it are dead; not
--                   passed for a guest
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  all      the global epoch as the caller knows it, unix µs, 0 for none
-- ARGV[3]  nonce    of this commit; whoever lost the reply looks for it in the record
-- ARGV[4]  set      number of values to set, >= 0
-- ARGV[5]  delete   number of values to delete, >= 0
-- ARGV[6+]          name and value of each to set, then the names to delete, then name
--                   and integer (-2^53 .. 2^53) to add
-- RETURNS  {status, now ms}
-- EXPIRES  as before: a commit moves no deadline
-- COST     4 commands, 1 more to delete and for each value added to; of a guest 1 less
-- RETRY    unsafe: it would add twice, and undo what others wrote since
local session, status = open(ARGV[2] + 0)
if not session then return {status, ms} end
local sets, deletes = 2 * ARGV[4], ARGV[5] + 0
local first, last = 6 + sets, 5 + sets + deletes

-- Everything is computed before the first write: a command that failed between two others
-- would leave half a commit.
local changes, after, gone = {'!n', ARGV[3]}, {}, {}
for i = 6, first - 1, 2 do
  after[ARGV[i]] = ARGV[i + 1]
end
for i = first, last do
  after[ARGV[i]] = false
end
local limit = 9007199254740992
for i = last + 1, #ARGV, 2 do
  local name = ARGV[i]
  local value = after[name]
  if value == nil then value = call('HGET', record, name) end
  if value and not string.match(value, '^-?%d+$') then return {BADTYPE, ms} end
  local number = tonumber(value or 0)
  if not number then return {BADTYPE, ms} end
  local sum = number + ARGV[i + 1]
  if math.abs(number) >= limit or math.abs(sum) >= limit then return {BADTYPE, ms} end
  after[name] = int(sum)
end
for name, value in pairs(after) do
  if value then
    changes[#changes + 1], changes[#changes + 2] = name, value
  else
    gone[#gone + 1] = name
  end
end

-- HSET comes first: when memory is full Redis refuses it, and nothing is changed.
for i = 1, #changes, 1000 do
  call('HSET', record, unpack(changes, i, math.min(i + 999, #changes)))
end
for i = 1, #gone, 1000 do
  call('HDEL', record, unpack(gone, i, math.min(i + 999, #gone)))
end
return {OK, ms}
