-- blob_commit: write a blob as a whole, unless it was deleted.
-- PARTS    now, int, blob
-- KEYS[1]  blob     string; see parts/blob.lua
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  life     from now on, ms, > 0
-- ARGV[3]  present  1: only if the blob is there
-- ARGV[4]  data     any bytes
-- RETURNS  {written 0|1}
-- EXPIRES  the blob, when its life is over
-- COST     3 commands, 2 when nothing is written
-- RETRY    unsafe: the second run undoes a commit that came between
local ends, data = look(KEYS[1])
if not data and (ends or ARGV[3] == '1') then return {0} end
call('SET', KEYS[1], int(ms + ARGV[2]) .. '.' .. ARGV[4], 'PX', ARGV[2])
return {1}
