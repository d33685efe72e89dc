-- slot_release: give slots back, and tell those who wait.
-- PARTS       now, int, slots
-- KEYS[1]     holders    sorted set, id -> unix µs at which its slot runs out
-- KEYS[2]     meta       hash, see parts/slots.lua
-- KEYS[3]     line       sorted set, waiting process -> ticket; all keys of one hash tag
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]     slots      most under way, 1 .. 4,096
-- ARGV[3]     length     µs until a slot runs out that nobody prolongs
-- ARGV[4]     channel    how the names of the channels begin on which processes listen
-- ARGV[i+4]   id         one a holder, at most 100
-- RETURNS     {for each id: its weight, 0 when it held no slot}
-- EXPIRES     nothing: what stays keeps its TTL
-- COST        5 commands, 4 for each id, and one for each process that is told
-- RETRY       safe: who holds no slot gives none back
local limit = {
  holders = KEYS[1], meta = KEYS[2], line = KEYS[3],
  quota = ARGV[2] + 0, length = ARGV[3] + 0, channel = ARGV[4],
}
slots.read(limit)
local reply = {}
for i = 1, #ARGV - 4 do reply[i] = slots.drop(limit, ARGV[i + 4]) end
slots.wake(limit)
return reply
