package gatehttp_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gatehttp"
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

// Two limits on one route: a wide one by address, a tight one by API key.
func ExampleRateLimit() {
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
	limit, err := gatehttp.RateLimit(limiter, ratelimit.GateOptions{},
		ratelimit.Rule{
			Policy: ratelimit.MustPolicy("ip", ratelimit.PerMinute(100)),
			Key:    ratelimit.MustByIP(ratelimit.IPOptions{}),
		},
		ratelimit.Rule{
			Policy: ratelimit.MustPolicy("key", ratelimit.PerSecond(1), ratelimit.PerHour(1000)),
			Key:    ratelimit.ByHeader("X-Api-Key"),
		})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /report", limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "all is well\n")
	})))

	for range 2 {
		r := httptest.NewRequest("GET", "/report", nil)
		r.Header.Set("X-Api-Key", "k1")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header().Get("RateLimit"))
	}
	// Output:
	// 200 "ip";r=99;t=60, "key-second";r=0;t=1, "key-hour";r=999;t=3600
	// 429 "ip";r=99;t=60, "key-second";r=0;t=1, "key-hour";r=999;t=3600
}

// What a request costs may be known only when its handler is done. The rules reserve
// before that, so that parallel requests cannot slip through. Settle says what counts.
func ExampleRateLimit_settle() {
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
	onlyFailures := ratelimit.Rule{
		Policy: ratelimit.MustPolicy("login", ratelimit.Per(5, 15*time.Minute)),
		Key:    ratelimit.Everyone(),
		Settle: func(r ratelimit.Response) int64 { return r.CountIf(r.Status >= 400) },
	}
	not304 := ratelimit.Rule{
		Policy: ratelimit.MustPolicy("feed", ratelimit.PerHour(60)),
		Key:    ratelimit.Everyone(),
		Settle: func(r ratelimit.Response) int64 { return r.CountIf(r.Status != http.StatusNotModified) },
	}
	bytesSent := ratelimit.Rule{
		Policy: ratelimit.MustPolicy("bytes", ratelimit.Limit{Quota: 1e6, Window: time.Hour, Algorithm: ratelimit.SlidingBuckets}),
		Key:    ratelimit.Everyone(),
		Settle: func(r ratelimit.Response) int64 { return r.Bytes },
	}
	tokens := ratelimit.Rule{
		Policy: ratelimit.MustPolicy("tokens", ratelimit.Limit{Quota: 1e6, Window: time.Minute, Algorithm: ratelimit.SlidingBuckets}),
		Key:    ratelimit.Everyone(),
		Cost:   func(*http.Request) int64 { return 4000 }, // an estimate
		Settle: func(r ratelimit.Response) int64 { return r.Used },
	}
	limit, err := gatehttp.RateLimit(limiter, ratelimit.GateOptions{}, onlyFailures, not304, bytesSent, tokens)
	if err != nil {
		log.Fatal(err)
	}
	handler := limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ratelimit.Use(r.Context(), 120) // tokens
		_, _ = io.WriteString(w, "hello")
	}))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))

	key, err := ratelimit.Everyone()(nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, rule := range []ratelimit.Rule{onlyFailures, not304, bytesSent, tokens} {
		d, err := limiter.Peek(context.Background(), rule.Policy, key)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(rule.Policy.Name(), d.Limits[0].Quota-d.Remaining)
	}
	// Output:
	// login 0
	// feed 1
	// bytes 5
	// tokens 120
}

// The middleware around a whole mux, with a quota for each client on each route.
func ExampleMuxPattern() {
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
	mux := http.NewServeMux()
	mux.Handle("GET /reports/{id}", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	mux.Handle("GET /orders/{id}", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	limit := gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{Pattern: gatehttp.MuxPattern(mux)}, ratelimit.Rule{
		Policy:   ratelimit.MustPolicy("route", ratelimit.PerMinute(1)),
		Key:      ratelimit.MustByIP(ratelimit.IPOptions{}),
		PerRoute: true,
	})
	handler := limit(mux)

	for _, path := range []string{"/reports/1", "/reports/2", "/orders/1"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Println(path, w.Code)
	}
	// Output:
	// /reports/1 200
	// /reports/2 429
	// /orders/1 200
}
