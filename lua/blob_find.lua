-- blob_find: read a blob that has not ended.
-- PARTS    now, blob
-- KEYS[1]  blob   string; see parts/blob.lua
-- ARGV[1]  now    unix µs, or '' for the server's clock; only tests pass it
-- RETURNS  {found 0|1, data}, strings
-- EXPIRES  as before
-- COST     2 commands
-- RETRY    safe: it writes nothing
local _, data = look(KEYS[1])
if not data then return {'0', ''} end
return {'1', data}
