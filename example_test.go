package gatekit_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gatehttp"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
)

var perIP = ratelimit.Rule{
	Policy: ratelimit.MustPolicy("ip", ratelimit.PerMinute(3)),
	Key:    ratelimit.MustByIP(ratelimit.IPOptions{}),
}

func Example() {
	os.Setenv("REDIS_URL", "redis://localhost:6379/0") // or rediss://, unix://; several addr= for a Cluster
	kv, err := gatekit.Connect(context.Background(), os.Getenv("REDIS_URL"), gatekit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	manager, err := session.New(kv, session.Options{})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	_ = gatehttp.Sessions(manager)
	_ = gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, perIP)
	fmt.Println(kv.Close())
	// Output: <nil>
}
