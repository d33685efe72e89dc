-- slot_leave: take a process out of the line, and tell those behind it.
-- PARTS       now, int, slots, slot_line
-- KEYS[1]     holders    sorted set, id -> unix µs at which its slot runs out
-- KEYS[2]     meta       hash, see parts/slots.lua
-- KEYS[3]     line       sorted set, waiting process -> ticket; all keys of one hash tag
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]     slots      most under way, 1 .. 4,096
-- ARGV[3]     length     µs until a slot runs out that nobody prolongs
-- ARGV[4]     channel    how the names of the channels begin on which processes listen
-- ARGV[5]     process    that leaves
-- RETURNS     {1 it was in line | 0}
-- EXPIRES     nothing: what stays keeps its TTL
-- COST        7 commands, and one for each process that is told
-- RETRY       safe: what is gone is gone
local limit = {
  holders = KEYS[1], meta = KEYS[2], line = KEYS[3],
  quota = ARGV[2] + 0, length = ARGV[3] + 0, channel = ARGV[4],
}
slots.read(limit)
local left = line.leave(limit, ARGV[5])
slots.wake(limit)
return {left}
