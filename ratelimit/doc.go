// Package ratelimit limits how much a caller may ask of a service. The counts are in
// Redis, so all processes of the service share them, and they are exact.
//
// # Which names you need
//
// Most programs need three: [MustPolicy] (or [NewPolicy]) names the limits, [New] makes
// the [Limiter], and [Limiter.Take] asks for one permit of a key, which can be a user, an
// address or an API key.
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
// An HTTP service need not call Take. It writes a [Rule], which is a policy and a
// [KeyFunc] such as [ByIP] or [ByUser], and gives it to the adapter of its framework. The
// adapter answers a denied request with 429, and sets Retry-After and the RateLimit
// header fields. With net/http:
//
//	perIP := ratelimit.Rule{Policy: api, Key: ratelimit.MustByIP(ratelimit.IPOptions{})}
//	handler = gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, perIP)(handler)
//
// An adapter for another framework builds on a [Gate].
//
// If the cost of a call is known only after the work, such as the tokens of a language
// model, take an estimate and give the real number to [Limiter.Settle].
//
// A [Limit] lets a quota of permits pass in every window. A [Policy] is a named list of
// limits. A cost is spent from all limits of the policy or from none. [Limiter.TakeAll]
// does the same for several keys and policies, and so does a [Gate] with several rules.
// With [Request.Costs] the limits of a policy are asked for different numbers of permits,
// for example 1 request and 900 tokens. [Policies] is a set of policies from JSON that is
// replaced while the program runs. A [List] has clients that are denied, or that no rule
// counts.
//
// [Slots] bounds how much is under way at once rather than how much begins: exports,
// uploads, calls to a slow service. [Limiter.Run] acquires a slot, runs a function and
// releases the slot.
//
// # What it guarantees
//
//   - Never over: for every instant x at most Quota permits lie in [x, x+Window), however
//     many processes there are. (A calendar quota promises that of each civil period.) The instants are those at which the scripts run, by the
//     clock of the Redis master, in microseconds. Fixed windows, token buckets and
//     two-window counters can let up to twice the quota pass within one window. What
//     [Limiter.Settle] books beyond a reservation comes on top of that: it was used
//     already. It counts in full from its own instant on.
//   - A denial costs nothing: it spends from no limit of the policy, nor from another key
//     of the same [Limiter.TakeAll], and does not make the caller wait longer. It writes
//     only after the clock stepped back: then it repairs the count, which makes the
//     caller wait less. On a cluster a denial of several keys may write and take back.
//   - RetryAfter is exact: it is the earliest instant at which this cost can pass, if
//     nobody else spends meanwhile.
//   - Charged at most once: a script whose reply is lost is not sent again, unless a
//     [SlidingLog] knows its call.
//   - Server time only: the clocks of the processes do not matter. When the server's
//     clock steps back, the extra wait is at most Window + min(Window/4, 5 s); with
//     SlidingBuckets Window + Window/8.
//   - Slots: at every instant, the holders whose context is alive have at most as many as
//     there are. A process that dies gives its slots back within the limit's Window.
//   - Every key has a TTL.
//   - A decision waits for Redis at most for its budget (150 ms by default). Then the
//     policy's [FailMode] decides. If the caller set a deadline that comes first, the
//     call returns the context's error, and that does not count as an outage.
//
// # What it does not
//
// If Redis loses a write, that permit counts as unspent. Redis loses writes in a failover
// (replication is asynchronous), in a restart without persistence, and by eviction. Set
// maxmemory-policy noeviction: every key has a TTL, so the volatile-* policies evict it
// too. If the server's clock steps forward, that counts as time that passed. If a reply
// is lost, the cost may have been charged once, whatever the fail mode answered.
//
// # Many callers of one key
//
// A call of cost 1 that meets another for its policy and key waits for that one's reply.
// Then all that wait are decided by one script, in the order in which they came. So a key
// that everybody asks for does not cost a round trip for each call. A key with one caller
// is asked as if there were no others. [Decision.Source] is [FromMerge] for calls that
// went together. Each call keeps its own budget, deadline, observer and fail mode, and
// its refund gives back its own permit. ALGORITHMS.md has the details and figures.
//
// # Which algorithm
//
// Use [SlidingWindow] unless you have a reason: it is exact, takes 10 bytes a permit, and
// allows quotas to 4,096. Use [SlidingBuckets] for larger quotas (bytes, tokens, requests
// a day): it never admits more than the quota either, but a permit returns up to 1/16 of
// the window late. Use [SlidingLog] where a call may be repeated and must not be charged
// twice: logins, one-time passwords, payments. Use a [Calendar] for what is sold by the
// month, week or day of a time zone: its quota begins anew with each period.
package ratelimit
