package dropin_test

import (
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/gatekit/gatekit"
	redis_rate "github.com/gatekit/gatekit/adapters/dropin"
	"github.com/gatekit/gatekit/ratelimit"
)

// A program that was written for go-redis/redis_rate, with another import and another
// line that makes the limiter.
func ExampleLimiter() {
	rdb, stop := embedded()
	defer stop()
	r := httptest.NewRequest("GET", "/", nil)
	ctx := r.Context()

	kv, err := gatekit.Open(rdb, gatekit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	core, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	limiter := redis_rate.NewLimiter(core, redis_rate.LimiterOptions{FailMode: ratelimit.FailClosed})

	for range 3 {
		res, err := limiter.Allow(ctx, "project:123", redis_rate.PerSecond(2))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("allowed", res.Allowed, "remaining", res.Remaining, "retry", res.RetryAfter > 0)
	}
	// Output:
	// allowed 1 remaining 1 retry false
	// allowed 1 remaining 0 retry false
	// allowed 0 remaining 0 retry true
}
