-- slot_line: the line of the processes that wait for a slot. A process that has not
-- asked for two seconds is gone.
-- NEEDS now: call, format, now; int: int
local line = {}

-- asked returns the weight for which a process waits, or nothing when it is gone. An
-- instant far ahead is from before the clock stepped back. It must not keep a dead
-- process in line for that long.
function line.asked(limit, process)
  local words = call('HGET', limit.meta, 'w:' .. process)
  if not words then return nil end
  local at, weight = string.match(words, '^(%d+) (%d+)$')
  if math.abs(now - at) >= 2000000 then return nil end
  return weight + 0
end

-- leave takes a process out of the line.
function line.leave(limit, process)
  call('HDEL', limit.meta, 'w:' .. process)
  return call('ZREM', limit.line, process)
end

-- fits reports whether the weight fits beside all that is under way and all that waits
-- ahead. Whoever does not wait ('' for process) comes behind the whole line, so that
-- nobody barges past those in it.
function line.fits(limit, weight, process)
  local room, ahead, place = limit.quota - limit.held, 0, 0
  while ahead + weight <= room do
    local other = call('ZRANGE', limit.line, place, place)[1]
    if not other then
      limit.alone = place == 0
      return true
    end
    if other == process then return true end
    local waits = line.asked(limit, other)
    if waits then
      ahead, place = ahead + waits, place + 1
    else
      line.leave(limit, other)
    end
  end
  return false
end

-- join puts a process at the end of the line, or notes that it still waits. The ticket
-- is above all others, also after the clock stepped back: otherwise those that come
-- later would pass.
function line.join(limit, weight, process)
  if not call('ZSCORE', limit.line, process) then
    local last = call('ZREVRANGE', limit.line, 0, 0, 'WITHSCORES')
    local ticket = now
    if last[2] and last[2] + 0 >= now then ticket = last[2] + 1 end
    call('ZADD', limit.line, int(ticket), process)
  end
  call('HSET', limit.meta, 'w:' .. process, format('%.0f %.0f', now, weight))
  call('PEXPIRE', limit.line, int(math.ceil(limit.length / 1000) + 1000))
end
