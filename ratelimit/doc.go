// Package ratelimit limits how much somebody may ask, exactly and together with all other
// processes of a service, with the state in Redis.
//
//	api := ratelimit.MustPolicy("api", ratelimit.PerSecond(10), ratelimit.PerHour(1000))
//
//	kv, err := gatekit.Connect(ctx, os.Getenv("REDIS_URL"), gatekit.Options{})
//	...
//	limiter, err := ratelimit.New(kv, ratelimit.Options{})
//	...
//	d, err := limiter.Take(ctx, api, "user:42")
//	if err != nil {
//		return err // the call was wrong, or ctx has ended
//	}
//	if !d.Allowed {
//		return tooManyRequests(d.RetryAfter)
//	}
//
// A [Limit] lets a quota of permits pass in every window; a [Policy] is a named list of
// limits; a [Limiter] decides whether a key (a user, an address, an API key) may spend a
// cost from all limits of a policy, or from none.
//
// # What it guarantees
//
//   - Never over: for every instant x at most Quota permits lie in [x, x+Window), by the
//     clock of the Redis master, at script instants, microsecond resolution, whatever the
//     number of processes. There is no burst of twice the quota where windows meet, as
//     with fixed windows, token buckets and two-window counters.
//   - A denial costs nothing: it writes nothing, does not push the caller further out,
//     and of several limits none is spent unless all pass. (The one write of a denial is
//     the repair after the clock stepped back, which brings the caller nearer.)
//   - RetryAfter is the truth: the earliest instant at which this cost can pass, while
//     nobody else spends.
//   - Charged at most once: a script whose reply is lost is never sent again, unless a
//     [SlidingLog] knows its call.
//   - Server time only: the clocks of the processes do not matter. When the server's
//     clock steps back, the extra wait is at most Window + min(Window/4, 5 s); with
//     SlidingBuckets Window + Window/8.
//   - Every key has a TTL.
//   - A decision never waits for Redis longer than its budget (150 ms by default), and
//     then follows the policy's [FailMode]. A deadline of the caller's that comes first
//     is no outage: the call returns the context's error.
//
// # What it does not
//
// Writes that Redis loses are permits that were not spent: in a failover (replication is
// asynchronous), in a restart without persistence, by eviction (set maxmemory-policy
// noeviction; every key has a TTL, so volatile-* evicts it too). A forward step of the
// server's clock counts as time that passed. A lost reply may have charged the cost once,
// whatever the fail mode answered.
//
// # Which algorithm
//
// [SlidingWindow] unless there is a reason: exact, 10 bytes a permit, quotas to 4,096.
// [SlidingBuckets] for larger quotas (bytes, tokens, requests a day): never over either,
// a permit returns up to 1/16 of the window late. [SlidingLog] where a call may be
// repeated and must not be charged twice: logins, one-time passwords, payments.
//
// # HTTP
//
// [KeyFunc] and its makers name the caller of a request; a [Gate] applies [Rule] values
// to requests and writes header fields and problem details. The adapters (gatehttp for
// net/http and chi) are thin layers over it.
package ratelimit
