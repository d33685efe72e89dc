-- limit: what all algorithms share. A limit is a table {key, quota, window, cost}. An
-- algorithm is a table of functions: read fills in wait, the µs until this cost can pass
-- (0: now); spend and look fill in remaining, reset and stamp for the reply.
-- NEEDS now: call, now; int: int

-- lead is how far ahead of the clock a stamp may lie, µs. It is part of the layout and
-- never configuration. A process with a smaller lead would take another's stamps for a
-- clock that stepped back, shift them, and admit too many.
local function lead(window)
  return math.min(math.floor(window / 4), 5000000)
end

-- era is added to the stored stamps of a list (w) at each repair, and at a reset that
-- comes before the list's newest stamp, modulo three. Microseconds that come again then
-- have other names, so the refund of an older stamp finds nothing rather than another's
-- permit. Stamps are below it until 2065.
local era = 3000000000000000

-- ttl is the expiry, in ms and rounded up, of a log that was given a stamp as the first
-- in its aligned window. It covers two windows, because the stamps that follow in the
-- same aligned window set no expiry. The second on top is for a TIME that was read before
-- the base of the expiry.
local function ttl(stamp, window)
  return int(math.ceil((stamp - now + 2 * window) / 1000) + 1000)
end

-- trace leaves one dead stamp of an emptied list, which names the list's era, for as long
-- as older stamps may lie ahead of the clock. After a step back the stamp may count for a
-- moment, and others may join it, so it gets the expiry of a list with such a stamp.
local function trace(key, window, its)
  call('RPUSH', key, int(now - window + its))
  call('PEXPIRE', key, ttl(now - window, window))
end

-- chunks calls run with the arguments of many items, at most 1,000 at once: unpack has a
-- limit.
local function chunks(items, run)
  for i = 1, #items, 1000 do
    run(unpack(items, i, math.min(i + 999, #items)))
  end
end

-- report appends a limit to the reply.
local function report(reply, limit)
  local n = #reply
  reply[n + 1], reply[n + 2] = math.max(limit.remaining, 0), limit.wait
  reply[n + 3], reply[n + 4] = limit.reset, limit.stamp
end
