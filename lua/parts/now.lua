-- now: the one instant of a run, unix µs. ARGV[1] of every script is '' for the server's
-- clock; only tests pass an instant. TIME is read once, because two calls in one script
-- may differ.
-- NEEDS nothing
local call, format = redis.call, string.format
local now, clock
if ARGV[1] == '' then
  clock = call('TIME')
  now = clock[1] * 1000000 + clock[2]
else
  now = ARGV[1] + 0
end
