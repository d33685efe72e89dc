-- now: the one instant of a run, unix µs. ARGV[1] of every script that needs the time is '' for the server's
-- clock; only tests pass an instant. TIME is read once: two calls in one script may differ.
local call, format = redis.call, string.format
local now, clock
if ARGV[1] == '' then
  clock = call('TIME')
  now = clock[1] * 1000000 + clock[2]
else
  now = ARGV[1] + 0
end
