-- session_token: which token of a session is presented, and the change to its successor.
-- A successor is on offer beside the current token until it is presented itself, so a
-- response that was lost costs nothing.
-- NEEDS now: call; int: int; session: NOTDUE, OK, PREVIOUS, REPLAY, ms; session_open:
--       record

-- read_tokens reads the hashes of a session's tokens.
local function read_tokens()
  local fields = call('HMGET', record, '!s', '!p', '!q', '!w', '!y', '!r', '!v')
  return {
    current = fields[1], previous = fields[2], pending = fields[3],
    nonce = tonumber(fields[4] or 0), issued = tonumber(fields[5] or 0),
    confirmed = tonumber(fields[6] or 0), elevation = fields[7],
  }
end

-- fresh tells whether the successor on offer is to be handed out still.
local function fresh(tokens, grace)
  return tokens.pending and ms - tokens.issued <= grace
end

-- standing is the status of a token hash; OK is the current one.
local function standing(tokens, hash, grace)
  if hash == tokens.current then return OK end
  if hash == tokens.pending then return NOTDUE end
  if hash == tokens.previous and ms <= tokens.confirmed + grace then return PREVIOUS end
  return REPLAY
end

-- confirm makes the successor on offer the current token. HDEL comes first: a full memory
-- does not deny it, nor HSET after it, and the browser may hold nothing but the
-- successor.
local function confirm(tokens)
  call('HDEL', record, '!q', '!w', '!y', '!v')
  call('HSET', record, '!p', tokens.current, '!s', tokens.pending, '!r', int(ms))
  if tokens.elevation then call('HSET', record, '!a', tokens.elevation) end
  tokens.previous, tokens.current, tokens.confirmed = tokens.current, tokens.pending, ms
  tokens.pending, tokens.elevation = nil, nil
end
