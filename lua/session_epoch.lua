-- session_epoch: end all sessions of a user, or of everybody, that were created so far.
-- PARTS    now, int, session, session_index
-- KEYS[1]  epoch    string, unix µs: sessions stamped before it are dead
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms; not passed for
--                   everybody
-- KEYS[3]  records  what the keys of the user's records begin with; members are appended
--                   to it; not passed for everybody
-- KEYS[4]  kept     record of the user's session that lives on; not passed if there is
--                   none
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  life     ms: no session lives longer
-- ARGV[3]  all      the global epoch as the caller knows it, unix µs, 0 for none
-- ARGV[4]  user     hash of the user, '' for everybody
-- ARGV[5]  channel  of the events
-- RETURNS  {status, now ms, new epoch µs, sessions removed, score and member of the
--          cursor of what is left after the first 100}, strings
-- EXPIRES  epoch, when no session stamped before it can be alive
-- COST     5 commands; for a user 8, and 1 for each of 100 sessions; 2 more with a kept
--          session
-- RETRY    safe: a second run ends what was created between the two as well, and does not
--          count what the first removed
local index, records, kept, old = KEYS[2], KEYS[3], KEYS[4], epoch(KEYS[1])
local stamp, survivor = math.max(now, old + 1), nil
if kept then
  local fields = call('HMGET', kept, '!m', '!t', '!e', '!g')
  survivor = decode(fields[1], fields[2], fields[3])
  -- A session that somebody has ended ends no others.
  local all = ARGV[3] + 0
  if not survivor or ms >= expiry(survivor) or outdated(survivor, old, all) then
    return {int(fields[4] and SUPERSEDED or GONE), int(ms), '0', '0', '', ''}
  end
end
local members, score, after = {}, '', ''
if index then members, score, after = page(index, '', '', 100) end
-- DEL comes first, because a full memory denies SET to a script that has not written yet.
call('DEL', KEYS[1])
call('SET', KEYS[1], int(stamp), 'PX', ARGV[2])
if kept then call('HSET', kept, '!e', int(stamp) .. '.' .. int(survivor.all)) end
local removed = index and purge(index, records, members, stamp) or 0
if ARGV[4] == '' then
  tell(ARGV[5], 'revoked', '-', '-', '-', 'everyone')
elseif kept then
  tell(ARGV[5], 'revoked', '-', ARGV[4], tail(kept, 32), 'others')
else
  tell(ARGV[5], 'revoked', '-', ARGV[4], '-', 'user')
end
return {int(OK), int(ms), int(stamp), int(removed), score, after}
