-- session_revoke: end the session of a user that has a public id, looking through a page.
-- PARTS    now, int, session, session_mark, session_index
-- KEYS[1]  index    sorted set: the user's sessions by expiry, unix ms
-- KEYS[2]  records  what the keys of the user's records begin with; members are appended
--                   to it
-- ARGV[1]  now      unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]  id       public id
-- ARGV[3]  score    of the last page's cursor, ms, or ''
-- ARGV[4]  after    member of the last page's cursor, or ''
-- ARGV[5]  channel  of the events
-- RETURNS  {found 0|1, score and member of the next cursor}, strings
-- EXPIRES  the marker of a session younger than 10 s, after 10 s
-- COST     1 command for each of 500 sessions, 5 for the one found, 4; O(log of the
--          user's sessions)
-- RETRY    safe: what is gone is gone
local index, records, id = KEYS[1], KEYS[2], ARGV[2]
local members, score, after = page(index, ARGV[3], ARGV[4], 500)
for _, member in ipairs(members) do
  local record = records .. member
  local meta = call('HGET', record, '!m')
  if meta and string.match(meta, '^[^.]*') == id then
    local created = tonumber(string.match(meta, '^[^.]*%.(%d+)'))
    if created and ms - created < marked then
      -- Its creation may be under way still, to be repeated because the reply was lost:
      -- the marker stops it.
      mark(record)
    else
      call('DEL', record)
    end
    call('ZREM', index, member)
    tell(ARGV[5], 'revoked', id, tail(index, 22), member, 'one')
    return {'1', '', ''}
  end
end
return {'0', score, after}
