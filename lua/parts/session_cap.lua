-- session_cap: the number of sessions that a user may have, and the index of them.
-- NEEDS now: call; int: int; session: expiry, ms, outlive, parse, tell

-- remove ends sessions of a user.
local function remove(index, records, members)
  for _, member in ipairs(members) do
    call('DEL', records .. member)
    call('ZREM', index, member)
  end
end

-- make_room finds the sessions that have to go so that one more fits below the cap: the
-- members found dead, and {id, member} of those to evict. It returns nil where the policy
-- refuses one more; what was found dead is then removed. aside has the members that do
-- not count. A cap of 0 is none.
local function make_room(index, records, cap, policy, aside, revoked, all)
  local dead, evicted = {}, {}
  if cap == 0 then return dead, evicted end
  local live = call('ZCOUNT', index, '(' .. int(ms), '+inf')
  for member in pairs(aside) do
    if tonumber(call('ZSCORE', index, member) or 0) > ms then live = live - 1 end
  end
  if live < cap then return dead, evicted end

  -- The sessions that live, as columns: a table for each, and a sort, would cost more
  -- than the commands do.
  local found, ids, since = {}, {}, {}
  local most = int(cap + 64)
  local listed = call('ZRANGEBYSCORE', index, '(' .. int(ms), '+inf', 'LIMIT', 0, most)
  for _, member in ipairs(listed) do
    if not aside[member] then
      local fields = call('HMGET', records .. member, '!m', '!t', '!e')
      local id, created, abs, idle, seen, before, before_all =
        parse(fields[1], fields[2], fields[3])
      local alive = id and ms < abs and ms < seen + idle
      if alive and before >= revoked and before_all >= all then
        local n = #found + 1
        found[n], ids[n] = member, id
        if policy == 'l' then since[n] = seen else since[n] = created end
      else
        dead[#dead + 1], live = member, live - 1
      end
    end
  end
  if live < cap then return dead, evicted end
  if policy == 'r' then
    remove(index, records, dead)
    return nil
  end
  for i = 1, math.min(live - cap + 1, 64, #found) do
    local least
    for n = 1, #found do
      if since[n] then
        if not least or since[n] < since[least] then
          least = n
        elseif since[n] == since[least] and found[n] < found[least] then
          least = n
        end
      end
    end
    evicted[i], since[least] = {id = ids[least], member = found[least]}, false
  end
  return dead, evicted
end

-- enlist enters a new session into the index, in place of those that have to go.
local function enlist(index, records, member, session, dead, evicted)
  for _, gone in ipairs(evicted) do dead[#dead + 1] = gone.member end
  remove(index, records, dead)
  call('ZREMRANGEBYSCORE', index, '-inf', int(ms))
  call('ZADD', index, int(expiry(session)), member)
  outlive(index)
end

-- tell_evicted publishes the events of the sessions that were evicted.
local function tell_evicted(channel, user, evicted)
  for _, gone in ipairs(evicted) do
    tell(channel, 'evicted', gone.id, user, gone.member, 'cap')
  end
end
