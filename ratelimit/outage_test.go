package ratelimit_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// awayLimiter returns a limiter whose Redis never decides.
func awayLimiter(t testing.TB) *ratelimit.Limiter {
	t.Helper()
	limiter, err := ratelimit.New(kvtest.Open(t, redistest.NewClient(t, "127.0.0.1:1"), gatekit.Options{}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return limiter
}

// takeDegraded takes cost permits and fails when Redis decided.
func takeDegraded(t testing.TB, limiter *ratelimit.Limiter, p *ratelimit.Policy, key string, cost int64) ratelimit.Decision {
	t.Helper()
	d, err := limiter.TakeN(context.Background(), p, key, cost)
	if err != nil || d.Degraded == nil {
		t.Fatalf("policy %s: %v, degraded by %v; want the fail mode's decision", p.Name(), err, d.Degraded)
	}
	return d
}

// As in Redis, policies of one name share the count of a limit by its name, window and
// algorithm, and limits that differ in one of these have counts of their own: POST /login
// has 5 a minute, GET /login 1,000 an hour, and calls of the one do not wipe the count of
// the other.
func TestOutageHasOneCountPerLimit(t *testing.T) {
	limiter := awayLimiter(t)
	post := ratelimit.MustPolicy("login", ratelimit.PerMinute(5))
	get := ratelimit.MustPolicy("login", ratelimit.PerHour(1000))
	both := ratelimit.MustPolicy("login", ratelimit.PerHour(1000), ratelimit.PerMinute(7))
	named := ratelimit.MustPolicy("login", ratelimit.Limit{Name: "m", Quota: 5, Window: time.Minute})
	buckets := ratelimit.MustPolicy("login", ratelimit.Limit{Name: "minute", Quota: 5, Window: time.Minute, Algorithm: ratelimit.SlidingBuckets})
	passed := map[*ratelimit.Policy]int{}
	for range 200 {
		for _, p := range []*ratelimit.Policy{post, get, named, buckets} {
			if takeDegraded(t, limiter, p, "k", 1).Allowed {
				passed[p]++
			}
		}
	}
	if passed[post] != 5 || passed[get] != 200 || passed[named] != 5 || passed[buckets] != 5 {
		t.Errorf("POST passed %d times, GET %d, by another limit name %d, by another algorithm %d; want 5, 200, 5, 5",
			passed[post], passed[get], passed[named], passed[buckets])
	}
	for range 10 {
		if takeDegraded(t, limiter, both, "k", 1).Allowed {
			passed[both]++
		}
	}
	if passed[both] != 2 {
		t.Errorf("a policy of the same name with 7 a minute passed %d times after 5 of the minute were spent, want 2", passed[both])
	}
}

// The process does not keep the text of a key, neither of allowed nor of denied calls.
func TestOutageKeepsNoKeys(t *testing.T) {
	limiter, err := ratelimit.New(kvtest.Open(t, redistest.NewClient(t, "127.0.0.1:1"), gatekit.Options{}), ratelimit.Options{Instances: 2})
	if err != nil {
		t.Fatal(err)
	}
	p := ratelimit.MustPolicy("p", ratelimit.PerMinute(4))
	before := heap()
	for i := range 100 {
		key := fmt.Sprint(i) + strings.Repeat("k", 900<<10)
		takeDegraded(t, limiter, p, key, 1+int64(i%2)*2) // each other call is denied: the share is 2
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("the heap grew by %d KB over 100 calls with keys of 900 KB, want next to nothing", grown>>10)
	}
	runtime.KeepAlive(limiter)
}

// heap returns the bytes that live on the heap.
func heap() int64 {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A client that makes up keys must not keep out the clients that come after it.
func TestOutageFloodKeepsNobodyOut(t *testing.T) {
	for name, p := range map[string]*ratelimit.Policy{
		"one limit":  ratelimit.MustPolicy("one", ratelimit.PerMinute(5)),
		"two limits": ratelimit.MustPolicy("two", ratelimit.PerMinute(5), ratelimit.PerHour(100)),
	} {
		limiter := awayLimiter(t)
		for i := range 90_000 {
			takeDegraded(t, limiter, p, fmt.Sprint("attacker", i), 1)
		}
		out := 0
		for i := range 2000 {
			if !takeDegraded(t, limiter, p, fmt.Sprint("client", i), 1).Allowed {
				out++
			}
		}
		if out > 0 {
			t.Errorf("%s: %d of 2000 new clients were denied", name, out)
		}
	}
}

// A decision that this process took alone is given back to the count of this process,
// once.
func TestOutageRefund(t *testing.T) {
	limiter, ctx := awayLimiter(t), context.Background()
	p := ratelimit.MustPolicy("p", ratelimit.PerMinute(5), ratelimit.PerHour(100))
	for range 20 { // each is given back, as in a program that counts only failures
		d := takeDegraded(t, limiter, p, "k", 2)
		if !d.Allowed {
			t.Fatal("denied, although all before was given back")
		}
		for n, want := range []int{2, 0} {
			if limits, err := limiter.Refund(ctx, d); limits != want || err != nil {
				t.Fatalf("refund %d: gave back in %d limits, %v, want %d", n, limits, err, want)
			}
		}
	}
	first, second := takeDegraded(t, limiter, p, "k", 2), takeDegraded(t, limiter, p, "k", 3)
	denied := takeDegraded(t, limiter, p, "k", 1)
	open := takeDegraded(t, limiter, p.OnFailure(ratelimit.FailOpen), "k", 1)
	peeked, err := limiter.Peek(ctx, p, "k")
	if err != nil || denied.Allowed || peeked.Allowed {
		t.Fatalf("allowed with 5 of 5 spent, %v", err)
	}
	limits, err := limiter.RefundMany(ctx, []ratelimit.Decision{first, denied, open, peeked, second, first})
	if limits != 4 || err != nil {
		t.Errorf("RefundMany gave back in %d limits, %v; want 4 and no error", limits, err)
	}
	if !takeDegraded(t, limiter, p, "k", 5).Allowed {
		t.Error("5 of 5 were given back and do not pass")
	}
	// What was spent before a reset is not taken from what is spent after.
	before := takeDegraded(t, limiter, p, "other", 5)
	_ = limiter.Reset(ctx, p, "other") // says that Redis is away
	takeDegraded(t, limiter, p, "other", 5)
	if limits, _ := limiter.Refund(ctx, before); limits != 0 || takeDegraded(t, limiter, p, "other", 1).Allowed {
		t.Errorf("the refund of what a reset forgot gave back in %d limits", limits)
	}
}

// A request that one rule denies uses up nothing of the others, also while this process
// decides alone.
func TestOutageGateGivesBack(t *testing.T) {
	limiter := awayLimiter(t)
	perIP := ratelimit.MustPolicy("ip", ratelimit.PerHour(2))
	perKey := ratelimit.MustPolicy("key", ratelimit.PerHour(5))
	gate := newGate(t, limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: perKey, Key: byKey}, ratelimit.Rule{Policy: perIP, Key: byIP})
	for range 2 {
		wantStatus(t, gate.Check(apiRequest(), ""), 0)
	}
	for range 10 {
		wantStatus(t, gate.Check(apiRequest(), ""), http.StatusTooManyRequests)
	}
	passed := 0
	for range 10 {
		if takeDegraded(t, limiter, perKey, apiKey, 1).Allowed {
			passed++
		}
	}
	if passed != 3 {
		t.Errorf("the key has %d of 5 permits left after 2 requests that passed and 10 that the address denied, want 3", passed)
	}
}
