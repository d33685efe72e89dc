package ratelimit_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/redis/go-redis/v9"
)

// embedded starts a Redis in this process, whose clock stands still so that the examples
// print the same each time. Programs connect to theirs: see gatekit.Connect.
func embedded() (client redis.UniversalClient, stop func()) {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	server.SetTime(time.Unix(1_800_000_000, 0))
	client = redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	return client, func() {
		_ = client.Close()
		server.Close()
	}
}

func ExampleLimiter_Take() {
	client, stop := embedded()
	defer stop()

	kv, err := gatekit.Open(client, gatekit.Options{Budget: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	api := ratelimit.MustPolicy("api", ratelimit.PerSecond(2))
	for range 3 {
		d, err := limiter.Take(context.Background(), api, "alice")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(d.Allowed, d.Remaining, d.RetryAfter)
	}
	// Output:
	// true 1 0s
	// true 0 0s
	// false 0 1s
}

// Several limits are decided together, all or nothing: what one denies is not spent from
// the other.
func ExampleLimiter_Take_severalLimits() {
	client, stop := embedded()
	defer stop()

	kv, err := gatekit.Open(client, gatekit.Options{Budget: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	api := ratelimit.MustPolicy("api", ratelimit.PerSecond(2), ratelimit.PerHour(100))
	for range 3 {
		d, err := limiter.Take(context.Background(), api, "alice")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%v: %d this second, %d this hour\n", d.Allowed, d.Limits[0].Remaining, d.Limits[1].Remaining)
	}
	// Output:
	// true: 1 this second, 99 this hour
	// true: 0 this second, 98 this hour
	// false: 0 this second, 98 this hour
}

// A quota that begins anew on the last day of each month, in Berlin, beside a rate.
func ExampleCalendar() {
	client, stop := embedded()
	defer stop()

	kv, err := gatekit.Open(client, gatekit.Options{Budget: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		log.Fatal(err)
	}
	plan := ratelimit.MustPolicy("plan",
		ratelimit.PerSecond(2),
		ratelimit.Calendar{Unit: ratelimit.Month, Anchor: 31, Zone: berlin}.Per(10_000))
	for _, cost := range []int64{1, 1, 1} {
		d, err := limiter.TakeN(context.Background(), plan, "customer:42", cost)
		if err != nil {
			log.Fatal(err)
		}
		for _, l := range d.Limits {
			if l.Algorithm == ratelimit.CalendarQuota {
				fmt.Printf("%v: %d left, more in %v\n", d.Allowed, l.Remaining, l.ResetAfter)
			}
		}
	}
	// Output:
	// true: 9999 left, more in 375h0m0s
	// true: 9998 left, more in 375h0m0s
	// false: 9998 left, more in 375h0m0s
}

// A message costs its sender and its receiver a permit: both or, if one of them has none
// left, neither.
func ExampleLimiter_TakeAll() {
	client, stop := embedded()
	defer stop()

	kv, err := gatekit.Open(client, gatekit.Options{Budget: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	sent := ratelimit.MustPolicy("sent", ratelimit.PerMinute(1))
	received := ratelimit.MustPolicy("received", ratelimit.PerMinute(100))
	for range 2 {
		ds, err := limiter.TakeAll(context.Background(), []ratelimit.Request{
			{Policy: sent, Key: "alice", Cost: 1},
			{Policy: received, Key: "bob", Cost: 1},
		})
		if err != nil {
			log.Fatal(err)
		}
		for _, d := range ds {
			fmt.Println(d.Policy().Name(), d.Allowed, d.Spent, d.Remaining, d.RetryAfter)
		}
	}
	// Output:
	// sent true true 0 0s
	// received true true 99 0s
	// sent false false 0 1m0s
	// received true false 99 0s
}

// A prompt costs 1 request and as many tokens as it has.
func ExampleRequest_costs() {
	client, stop := embedded()
	defer stop()

	kv, err := gatekit.Open(client, gatekit.Options{Budget: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	model := ratelimit.MustPolicy("model",
		ratelimit.Limit{Name: "requests", Quota: 3, Window: time.Minute},
		ratelimit.Limit{Name: "tokens", Quota: 2000, Window: time.Minute, Algorithm: ratelimit.SlidingBuckets})
	for range 3 {
		d, err := limiter.Do(context.Background(), ratelimit.Request{Policy: model, Key: "alice", Costs: []int64{1, 900}})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(d.Allowed, d.Limits[0].Remaining, d.Limits[1].Remaining)
	}
	// Output:
	// true 2 1100
	// true 1 200
	// false 1 200
}

// Count only failures: spend before the attempt and give back after success. Parallel
// attempts cannot slip through, as they could if failures were counted afterwards.
func ExampleLimiter_Refund() {
	client, stop := embedded()
	defer stop()

	kv, err := gatekit.Open(client, gatekit.Options{Budget: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	logins := ratelimit.MustPolicy("login", ratelimit.Per(2, 15*time.Minute)).OnFailure(ratelimit.FailClosed)
	for _, password := range []string{"secret", "guess", "secret", "guess", "secret"} {
		d, err := limiter.Take(context.Background(), logins, "alice")
		switch {
		case err != nil:
			log.Fatal(err)
		case !d.Allowed:
			fmt.Println("locked for", d.RetryAfter)
		case password == "secret":
			if _, err := limiter.Refund(context.Background(), d); err != nil {
				log.Fatal(err)
			}
			fmt.Println("welcome")
		default:
			fmt.Println("wrong password")
		}
	}
	// Output:
	// welcome
	// wrong password
	// welcome
	// wrong password
	// locked for 15m0s
}

// Reserve an estimate before the work, and settle what it really used. What was used
// beyond the reservation is booked at once.
func ExampleLimiter_Settle() {
	client, stop := embedded()
	defer stop()

	kv, err := gatekit.Open(client, gatekit.Options{Budget: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, user := context.Background(), "alice"
	tokens := ratelimit.MustPolicy("tokens", ratelimit.Limit{Quota: 1000, Window: time.Minute, Algorithm: ratelimit.SlidingBuckets})
	for _, used := range []int64{120, 700, 300} {
		const estimate = 400
		d, err := limiter.TakeN(ctx, tokens, user, estimate)
		if err != nil {
			log.Fatal(err)
		}
		if !d.Allowed {
			fmt.Println("wait", d.RetryAfter.Round(time.Second))
			continue
		}
		if _, err := limiter.Settle(context.WithoutCancel(ctx), d, used); err != nil {
			log.Fatal(err)
		}
		left, err := limiter.Peek(ctx, tokens, user)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("reserved %d, used %d, %d left\n", estimate, used, left.Remaining)
	}
	// Output:
	// reserved 400, used 120, 880 left
	// reserved 400, used 700, 180 left
	// wait 1m4s
}

// Peek shows what is left without spending.
func ExampleLimiter_Peek() {
	client, stop := embedded()
	defer stop()

	kv, err := gatekit.Open(client, gatekit.Options{Budget: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	api := ratelimit.MustPolicy("api", ratelimit.PerHour(100))
	for _, cost := range []int64{30, 5} {
		if _, err := limiter.TakeN(context.Background(), api, "alice", cost); err != nil {
			log.Fatal(err)
		}
	}
	d, err := limiter.Peek(context.Background(), api, "alice")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d of %d left\n", d.Remaining, d.Limits[0].Quota)
	// Output:
	// 65 of 100 left
}

// At most five exports of a customer are under way at once, and a hundred begin in a
// minute. The slot is released when the function returns or panics.
func ExampleLimiter_Run() {
	client, stop := embedded()
	defer stop()

	kv, err := gatekit.Open(client, gatekit.Options{Budget: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer limiter.Close() // gives back what is held

	export := ratelimit.MustPolicy("export", ratelimit.Slots(5), ratelimit.PerMinute(100))
	d, err := limiter.Run(context.Background(), export, "customer:42", func(ctx context.Context) error {
		fmt.Println("exporting") // ctx ends if the slot is lost
		return ctx.Err()
	})
	fmt.Println(d.Allowed, d.SlotsFull, err)
	// Output:
	// exporting
	// true false <nil>
}

// Wait for a turn, and send the fence with what is written.
func ExampleLimiter_AcquireWait() {
	client, stop := embedded()
	defer stop()

	kv, err := gatekit.Open(client, gatekit.Options{Budget: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer limiter.Close()

	one := ratelimit.MustPolicy("nightly", ratelimit.Slots(1))
	var written uint64
	write := func(fence uint64) bool { // in the database, with the row
		if fence < written {
			return false
		}
		written = fence
		return true
	}
	for range 2 {
		slot, err := limiter.AcquireWait(context.Background(), one, "report")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(write(slot.Fence()))
		slot.Release()
	}
	// Output:
	// true
	// true
}

// Metrics tell decisions apart by who made them. Calls that meet for one key are decided
// together, which is as exact.
func ExampleSource() {
	client, stop := embedded()
	defer stop()

	kv, err := gatekit.Open(client, gatekit.Options{Budget: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	api := ratelimit.MustPolicy("api", ratelimit.PerHour(100)).OnFailure(ratelimit.FailOpen)
	for _, cost := range []int64{1, 101} {
		d, err := limiter.TakeN(context.Background(), api, "alice", cost)
		if err != nil {
			log.Fatal(err)
		}
		switch d.Source {
		case ratelimit.FromRedis, ratelimit.FromMerge:
			fmt.Printf("cost %d: Redis decided, allowed: %v\n", cost, d.Allowed)
		case ratelimit.FromQuota:
			fmt.Printf("cost %d: can never pass\n", cost)
		case ratelimit.FromFailMode:
			fmt.Printf("cost %d: %v decided, because %v\n", cost, d.Policy().FailMode(), d.Degraded)
		}
	}
	// Output:
	// cost 1: Redis decided, allowed: true
	// cost 101: can never pass
}
