-- slot_beat: prolong the slots of holders that still have one.
-- PARTS       now, int, slots
-- KEYS[1]     holders    sorted set, id -> unix µs at which its slot runs out
-- KEYS[2]     meta       hash, see parts/slots.lua; of the same hash tag
-- ARGV[1]     now        unix µs, or '' for the server's clock; only tests pass it
-- ARGV[2]     length     µs until a slot runs out that nobody prolongs
-- ARGV[i+2]   id         one a holder, at most 100
-- RETURNS     {for each id: 1 prolonged | 0 it holds no slot}
-- EXPIRES     a length and a second after the last acquire or beat
-- COST        6 commands, and 2 for each id
-- RETRY       safe: a slot is prolonged from now, however often
local limit = {holders = KEYS[1], meta = KEYS[2], length = ARGV[2] + 0}
slots.read(limit)
local reply = {}
for i = 1, #ARGV - 2 do
  reply[i] = 0
  if call('ZSCORE', limit.holders, ARGV[i + 2]) then
    call('ZADD', limit.holders, int(now + limit.length), ARGV[i + 2])
    reply[i] = 1
  end
end
slots.expire(limit)
return reply
