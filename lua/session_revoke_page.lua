-- session_revoke_page: remove a page of the user's sessions that an epoch has ended.
-- PARTS    now, int, session_index
-- KEYS[1]  index    sorted set: the user's sessions by expiry, unix ms
-- KEYS[2]  records  what the keys of the user's records begin with; members are appended
--                   to it
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  epoch    the user's epoch, unix µs: sessions stamped with an older one go
-- ARGV[3]  score    of the last page's cursor, ms, or ''
-- ARGV[4]  after    member of the last page's cursor, or ''
-- RETURNS  {sessions removed, score and member of the next cursor}, strings
-- EXPIRES  nothing, it leaves no key
-- COST     1 command for each of 100 sessions, and 6; O(log of the user's sessions);
--          freed in the background
-- RETRY    safe: what is gone is gone, though counted by the first run
local index, records = KEYS[1], KEYS[2]
local members, score, after = page(index, ARGV[3], ARGV[4], 100)
return {int(purge(index, records, members, ARGV[2] + 0)), score, after}
