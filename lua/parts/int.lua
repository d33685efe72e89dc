-- int: how a number becomes a word of a Redis command.
-- NEEDS now: format

-- int renders a whole number. tostring and .. would keep 14 digits only.
local function int(number)
  return format('%.0f', number)
end
