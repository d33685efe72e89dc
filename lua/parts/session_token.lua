-- session_token: which token of a session is presented, and the change to its successor. A successor is on offer beside
-- the current token until it is presented itself: a response that was lost costs nothing.

-- tokens reads the hashes of a session's tokens.
local function tokens()
  local f = call('HMGET', record, '!s', '!p', '!q', '!w', '!y', '!r', '!v')
  return {current = f[1], previous = f[2], pending = f[3], nonce = tonumber(f[4] or 0), issued = tonumber(f[5] or 0),
    confirmed = tonumber(f[6] or 0), elevation = f[7]}
end

-- fresh tells whether the successor on offer is to be handed out still.
local function fresh(k, grace)
  return k.pending and ms - k.issued <= grace
end

-- standing is the status of a token hash; OK is the current one.
local function standing(k, hash, grace)
  if hash == k.current then return OK end
  if hash == k.pending then return NOTDUE end
  if hash == k.previous and ms <= k.confirmed + grace then return PREVIOUS end
  return REPLAY
end

-- confirm makes the successor on offer the current token. HDEL comes first: a full memory does not deny it, nor HSET after
-- it, and the browser may hold nothing but the successor.
local function confirm(k)
  call('HDEL', record, '!q', '!w', '!y', '!v')
  call('HSET', record, '!p', k.current, '!s', k.pending, '!r', int(ms))
  if k.elevation then call('HSET', record, '!a', k.elevation) end
  k.previous, k.current, k.confirmed, k.pending, k.elevation = k.current, k.pending, ms, nil, nil
end
