-- limit: what all algorithms share. A limit is a table {key, quota, window, cost}; read fills in wait, the µs until
-- this cost can pass (0: now), spend and look fill in remaining, reset and stamp for the reply.

-- int renders a whole number for a Redis command: tostring and .. keep 14 digits only.
local function int(n)
  return format('%.0f', n)
end

-- lead is how far ahead of the clock a stamp may lie, µs. It is part of the layout, never configuration: a process with
-- a smaller one would take another's stamps for a clock that stepped back, shift them, and admit too many.
local function lead(window)
  return math.min(math.floor(window / 4), 5000000)
end

-- era is added to the stored stamps of a list (w) at each repair, and at a reset that comes before its newest stamp, modulo
-- three. Microseconds that come again then have other names, and the refund of a stamp from before finds nothing, rather
-- than another's permit. Stamps are below it until 2065.
local era = 3000000000000000

-- ttl is the expiry of a log that was given the stamp s as the first in its aligned window, ms, rounded up. The stamps that
-- follow in the same aligned window set none, hence two windows; the second more is for a TIME read before the expiry's base.
local function ttl(s, window)
  return int(math.ceil((s - now + 2 * window) / 1000) + 1000)
end

-- trace leaves of an emptied list one dead stamp that names its era, for as long as stamps from before may lie ahead of the
-- clock. After a step back it may count for a moment and be joined by others, hence the expiry of a list with such a stamp.
local function trace(key, window, its)
  call('RPUSH', key, int(now - window + its))
  call('PEXPIRE', key, ttl(now - window, window))
end

-- chunks calls f with the arguments of many items, at most 1,000 at once: unpack has a limit.
local function chunks(items, f)
  for i = 1, #items, 1000 do
    f(unpack(items, i, math.min(i + 999, #items)))
  end
end

-- report appends a limit to the reply.
local function report(reply, l)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = math.max(l.remaining, 0), l.wait, l.reset, l.stamp
end
