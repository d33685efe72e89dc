-- session_settle: a login's token was used: end other logins from the same older session.
-- PARTS    now, int, session, session_mark
-- KEYS[1]  record   hash; see SessionRecord in package store
-- KEYS[2]  index    sorted set: the user's sessions by expiry, unix ms
-- KEYS[3]  records  what the keys of the user's records begin with; members are appended
--                   to it
-- KEYS[4]  logins   string: the members of the logins from the older session that were
--                   not settled yet
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  channel  of the events
-- RETURNS  {status, now ms}
-- EXPIRES  the markers of what is ended, after 10 s
-- COST     4 commands, and 6 for each of at most 4 other logins
-- RETRY    safe: what is gone is gone
local record, index, records, logins = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local member, user = tail(record, 32), tail(index, 22)
local others, known = {}, false
for other in string.gmatch(call('GET', logins) or '', '%S+') do
  if other == member then known = true else others[#others + 1] = other end
end
-- Where it is not listed, the list is of later logins: whoever ended this one from the
-- list did so before the token came.
if known then
  call('DEL', logins)
  for _, other in ipairs(others) do
    local id = string.match(call('HGET', records .. other, '!m') or '', '^[^.]+')
    if id then
      mark(records .. other)
      call('ZREM', index, other)
      tell(ARGV[2], 'revoked', id, user, other, 'repeated')
    end
  end
end
call('HDEL', record, '!x')
return {OK, ms}
