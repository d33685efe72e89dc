-- limit_reset: forget all that was spent from the limits of a policy by one key.
-- KEYS[i]     limit      one a limit, all of one hash tag
-- KEYS[n+1]   refunded   the calls that were refunded; passed when a limit is a SlidingLog
-- RETURNS     {keys emptied}
-- EXPIRES     what stays of a hash (b), when it would have: its generation, one further. Without it the refund of what was
--             spent before would be taken from what is spent after
-- COST        2 commands a key, 3 for a hash
-- RETRY       safe: what is gone is gone
local emptied = 0
for _, key in ipairs(KEYS) do
  local fields = redis.pcall('HGETALL', key)
  if fields.err or #fields == 0 then
    emptied = emptied + redis.call('UNLINK', key)
  else
    local generation, buckets = 0, {}
    for i = 1, #fields, 2 do
      if fields[i] == 'g' then
        generation = fields[i + 1] + 0
      else
        buckets[#buckets + 1] = fields[i]
      end
    end
    redis.call('HSET', key, 'g', string.format('%.0f', generation + 1))
    if #buckets > 0 then redis.call('HDEL', key, unpack(buckets)) end
    emptied = emptied + 1
  end
end
return {emptied}
