-- blob_delete: end a blob, and leave a tombstone for commits of what was read before.
-- PARTS    now, int, blob
-- KEYS[1]  blob   string; see parts/blob.lua
-- ARGV[1]  now    unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  least  that the tombstone stays, ms, > 0
-- ARGV[3]  most   that the tombstone stays, ms; between the two, it stays for what was
--                 left of the blob's life
-- RETURNS  {found 0|1}
-- EXPIRES  the tombstone, see ARGV
-- COST     4 commands
-- RETRY    safe: what is gone is gone
local ends, data = look(KEYS[1])
local left = math.min(math.max((ends or 0) - ms, ARGV[2] + 0), ARGV[3] + 0)
-- DEL comes first also where nothing is, because a full memory denies SET to a script
-- that has not written yet.
call('DEL', KEYS[1])
call('SET', KEYS[1], '-' .. int(ms + left), 'PX', int(left))
return {data and 1 or 0}
