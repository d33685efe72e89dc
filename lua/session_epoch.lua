-- session_epoch: end all sessions of a user, or of everybody, that were created so far; remove the user's first 100.
-- KEYS[1]  epoch    string, unix µs: sessions stamped before it are dead
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms; not passed for everybody
-- KEYS[3]  records  what the keys of the user's records begin with; members are appended to it; not passed for everybody
-- KEYS[4]  kept     record of the user's session that lives on; not passed if there is none
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  life     ms: no session lives longer
-- ARGV[3]  all      the global epoch as the caller knows it, unix µs, 0 for none
-- ARGV[4]  user     hash of the user, '' for everybody
-- ARGV[5]  channel  of the events
-- RETURNS  {status, now ms, new epoch µs, sessions removed, score and member of the cursor of what is left}, strings
-- EXPIRES  epoch, when no session stamped before it can be alive
-- COST     5 commands; for a user 8, and 1 for each of 100 sessions; 2 more with a kept session
-- RETRY    safe: a second run ends what was created between the two as well, and does not count what the first removed
local index, records, kept, old = KEYS[2], KEYS[3], KEYS[4], epoch(KEYS[1])
local stamp = math.max(now, old + 1)
if kept then
  local f = call('HMGET', kept, '!m', '!t', '!e', '!g')
  local s = decode(f[1], f[2], f[3])
  -- A session that somebody has ended ends no others.
  if not s or ended(s, old, ARGV[3] + 0) then return {int(f[4] and SUPERSEDED or GONE), int(ms), '0', '0', '', ''} end
  kept = {key = kept, all = s.all}
end
local members, score, after = {}, '', ''
if index then members, score, after = page(index, '', '', 100) end
-- DEL comes first, because a full memory denies SET to a script that has not written yet.
call('DEL', KEYS[1])
call('SET', KEYS[1], int(stamp), 'PX', ARGV[2])
if kept then call('HSET', kept.key, '!e', int(stamp) .. '.' .. int(kept.all)) end
local removed = index and purge(index, records, members, stamp) or 0
if ARGV[4] == '' then
  tell(ARGV[5], 'revoked', '-', '-', '-', 'everyone')
else
  tell(ARGV[5], 'revoked', '-', ARGV[4], kept and tail(kept.key, 32) or '-', kept and 'others' or 'user')
end
return {int(OK), int(ms), int(stamp), int(removed), score, after}
