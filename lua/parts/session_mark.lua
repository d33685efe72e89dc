-- session_mark: the marker that stays where a session was, when its own browser ended it.
-- NEEDS now: call; int: int

-- marked is how long a marker stays, ms.
local marked = 10000

-- mark leaves a marker. DEL comes first also where nothing is, because a full memory
-- denies HSET to a script that has not written yet.
local function mark(key)
  call('DEL', key)
  call('HSET', key, '!g', '1')
  call('PEXPIRE', key, int(marked))
end
