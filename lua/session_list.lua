-- session_list: a page of a user's sessions. What it finds dead leaves the index.
-- PARTS    now, int, session, session_index
-- KEYS[1]  index    sorted set: the user's sessions by expiry, unix ms
-- KEYS[2]  records  what the keys of the user's records begin with; members are appended
--                   to it
-- KEYS[3]  epoch    string, unix µs: the user's sessions stamped before it are dead
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  all      the global epoch as the caller knows it, unix µs, 0 for none
-- ARGV[3]  score    of the last page's cursor, ms, or ''
-- ARGV[4]  after    member of the last page's cursor, or ''
-- ARGV[5]  n        members to look at, 1 .. 100
-- RETURNS  {score and member of the next cursor, then of each session: member, !m, !t,
--          !a, !d, !l, !i, !e}, strings
-- EXPIRES  nothing new
-- COST     4 commands and 1 for each session, 3 more behind a cursor or to heal; O(log of
--          the user's sessions)
-- RETRY    safe: what was removed was dead
local index, records, revoked, all = KEYS[1], KEYS[2], epoch(KEYS[3]), ARGV[2] + 0
call('ZREMRANGEBYSCORE', index, '-inf', int(ms))
local members, score, after = page(index, ARGV[3], ARGV[4], ARGV[5] + 0)
local reply, dead = {score, after}, {}
for _, member in ipairs(members) do
  local record = records .. member
  local fields = call('HMGET', record, '!m', '!t', '!a', '!d', '!l', '!i', '!e')
  local session = decode(fields[1], fields[2], fields[7])
  if session and ms < expiry(session) and not outdated(session, revoked, all) then
    reply[#reply + 1] = member
    for i = 1, 7 do reply[#reply + 1] = fields[i] or '' end
  else
    dead[#dead + 1] = member
    if session then call('UNLINK', record) end
  end
end
expel(index, dead)
return reply
