-- limit_reset: forget all that was spent from the limits of a policy by one key.
-- KEYS[i]     limit      one a limit, and the calls refunded, all of one hash tag
-- RETURNS     {keys removed}
-- EXPIRES     nothing, it leaves no key
-- COST        1 command, freed in the background
-- RETRY       safe: what is gone is gone
return {redis.call('UNLINK', unpack(KEYS))}
