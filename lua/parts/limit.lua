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

-- ttl is the expiry of a log that was given the stamp s as the first in its aligned window, ms, rounded up. The stamps that
-- follow in the same aligned window set none, hence two windows; the second more is for a TIME read before the expiry's base.
local function ttl(s, window)
  return int(math.ceil((s - now + 2 * window) / 1000) + 1000)
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
