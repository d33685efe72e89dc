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
