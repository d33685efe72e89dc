package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// outages is an observer that counts its calls.
type outages struct{ lost, back atomic.Int64 }

func (o *outages) Decided(context.Context, ratelimit.Decision) {}
func (o *outages) Degraded(error)                              { o.lost.Add(1) }
func (o *outages) Recovered()                                  { o.back.Add(1) }

const (
	loadCallers   = 32
	loadPause     = 4 * time.Millisecond // of a caller between two calls
	loadQuota     = 150
	loadInstances = 5
)

// loadPolicies are the policies that the callers ask in turn. The first three are used up
// soon, each by one key; the last one is not.
var loadPolicies = []*ratelimit.Policy{
	ratelimit.MustPolicy("open", ratelimit.Per(loadQuota, time.Hour)).OnFailure(ratelimit.FailOpen),
	ratelimit.MustPolicy("closed", ratelimit.Per(loadQuota, time.Hour)).OnFailure(ratelimit.FailClosed),
	ratelimit.MustPolicy("local", ratelimit.Per(loadQuota, time.Hour)).OnFailure(ratelimit.FailLocal),
	ratelimit.MustPolicy("charged", ratelimit.Limit{Quota: 1e6, Window: time.Hour, Algorithm: ratelimit.SlidingBuckets}).OnFailure(ratelimit.FailClosed),
}

// load is many callers of one limiter, and the results of their calls.
type load struct {
	t       *testing.T
	limiter *ratelimit.Limiter
	outages outages
	still   *redistest.Standstill
	stop    chan struct{}
	wg      sync.WaitGroup

	mu       sync.Mutex // guards what follows
	calls    int
	slowest  time.Duration // the slowest call, without the time in which the whole machine stood still
	degraded int
	last     time.Time // when the last degraded call began
	reason   error     // why the last call that was asked did
	// By policy:
	admitted [4]int // by Redis
	allowed  [4]int // by the fail mode
	unknown  [4]int // perhaps charged: the outcome is unknown
}

func startLoad(t *testing.T, client redis.UniversalClient, budget time.Duration, key func(caller int) string) *load {
	t.Helper()
	l := &load{t: t, still: redistest.WatchStandstill(t), stop: make(chan struct{})}
	var err error
	l.limiter, err = ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: budget}), ratelimit.Options{Instances: loadInstances, Observer: &l.outages})
	if err != nil {
		t.Fatal(err)
	}
	for caller := range loadCallers {
		l.wg.Go(func() {
			for n := caller; ; n++ {
				select {
				case <-l.stop:
					return
				case <-time.After(loadPause):
					l.call(n%len(loadPolicies), key(caller))
				}
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.wg.Wait()
}

func (l *load) call(p int, key string) {
	start := time.Now()
	d, err := l.limiter.Take(context.Background(), loadPolicies[p], key)
	took := l.still.Since(start)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	l.slowest = max(l.slowest, took)
	switch {
	case err != nil:
		l.t.Errorf("Take: %v", err)
	case d.Degraded == nil && d.Allowed:
		l.admitted[p]++
	case d.Degraded != nil:
		l.degraded++
		l.last = start
		if took > time.Millisecond { // Redis was asked
			l.reason = d.Degraded
		}
		if !errors.Is(d.Degraded, gatekit.ErrUnavailable) {
			l.t.Errorf("Degraded is %v, want gatekit.ErrUnavailable", d.Degraded)
		}
		if d.Allowed {
			l.allowed[p]++
		}
		if errors.Is(d.Degraded, gatekit.ErrUnknownOutcome) {
			l.unknown[p]++
		}
		l.checkMode(loadPolicies[p].FailMode(), d)
	}
}

func (l *load) checkMode(mode ratelimit.FailMode, d ratelimit.Decision) {
	if mode == ratelimit.FailOpen && !d.Allowed || mode == ratelimit.FailClosed && d.Allowed {
		l.t.Errorf("%v: Allowed is %v while Redis does not decide (%v)", mode, d.Allowed, d.Degraded)
	}
	if d.Remaining != ratelimit.Unknown || !d.Allowed && d.RetryAfter <= 0 {
		l.t.Errorf("%v: Remaining %d, RetryAfter %v while Redis does not decide", mode, d.Remaining, d.RetryAfter)
	}
}

// normalFor waits until no call degrades for d, at most until limit, and returns when the
// last one that did began.
func (l *load) normalFor(d, limit time.Duration) (last time.Time) {
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		l.mu.Lock()
		last = l.last
		l.mu.Unlock()
		if time.Since(last) > d || time.Now().After(end) {
			return last
		}
	}
}

// await waits until the condition holds.
func (l *load) await(what string, done func() bool) {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("waited a minute in vain until %s", what)
		}
	}
}

func (l *load) failModesDecided() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.allowed[0] > 0 && l.allowed[2] > 0 && l.degraded > len(loadPolicies)*loadCallers
}

// settle waits for a quiet start and forgets how slow it was.
func (l *load) settle() {
	l.normalFor(300*time.Millisecond, 10*time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = 0
	l.outages.lost.Store(0)
	l.outages.back.Store(0)
}

// hopeless is so long that a busy machine cannot be the reason.
const hopeless = 30 * time.Second

// check ends the load and compares the counts with the fail modes and the quota.
func (l *load) check() {
	l.t.Helper()
	l.end()
	if l.slowest > hopeless {
		l.t.Errorf("a call took %v", l.slowest)
	}
	for p, policy := range loadPolicies[:3] {
		if l.admitted[p] > loadQuota {
			l.t.Errorf("%s: %d admitted by Redis, quota %d", policy.Name(), l.admitted[p], loadQuota)
		}
	}
	if l.allowed[0] == 0 || l.allowed[1] != 0 {
		l.t.Errorf("while Redis did not decide, FailOpen allowed %d and FailClosed %d", l.allowed[0], l.allowed[1])
	}
	if share := loadQuota / loadInstances; l.allowed[2] > share || l.allowed[2] == 0 {
		l.t.Errorf("while Redis did not decide, FailLocal allowed %d; the share of a process is %d", l.allowed[2], share)
	}
}

// late returns what took too long, or happened more than once, in an outage that ended at
// the instant mended.
func (l *load) late(budget time.Duration, mended time.Time) (complaints []string) {
	if l.slowest > 2*budget {
		complaints = append(complaints, fmt.Sprintf("a call took %v with a budget of %v", l.slowest, budget))
	}
	if back := l.last.Sub(mended); back > 3*time.Second {
		complaints = append(complaints, fmt.Sprintf("calls degraded until %v after Redis was back, the last one with: %v", back, l.reason))
	}
	if lost, back := l.outages.lost.Load(), l.outages.back.Load(); lost != 1 || back != 1 {
		complaints = append(complaints, fmt.Sprintf("the observer was told %d times of losing Redis and %d times of regaining it, want once each", lost, back))
	}
	return complaints
}

// inTime tries a test that depends on time three times, and reports what was late each
// time. A late call alone does not fail the test: on a machine where other programs stop
// this one for longer than a budget, calls degrade anyway. The test fails if a call took
// longer than [hopeless], or if a check that does not depend on time fails.
func inTime(t *testing.T, try func() (complaints []string)) {
	t.Helper()
	for attempt := 1; ; attempt++ {
		complaints := try()
		if len(complaints) == 0 || t.Failed() {
			return
		}
		for _, c := range complaints {
			t.Logf("attempt %d: %s", attempt, c)
		}
		if attempt == 3 {
			t.Log("late at each of three attempts: a busy machine, or a fault to look into")
			return
		}
	}
}

func recommendedClient(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	options, err := gatekit.RecommendedOptions(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewUniversalClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

// A fault is a way to break Redis, and to repair it.
type fault struct {
	name          string
	breakIt, mend func(*testing.T, *redistest.Server, *redistest.Proxy)
}

var faults = []fault{
	{"kill", func(t *testing.T, s *redistest.Server, _ *redistest.Proxy) { s.Kill(t) },
		func(t *testing.T, s *redistest.Server, _ *redistest.Proxy) { s.Restart(t) }},
	{"freeze", func(t *testing.T, s *redistest.Server, _ *redistest.Proxy) { s.Freeze(t) },
		func(t *testing.T, s *redistest.Server, _ *redistest.Proxy) { s.Thaw(t) }},
	{"black hole", func(_ *testing.T, _ *redistest.Server, p *redistest.Proxy) { p.BlackHole(true) },
		func(_ *testing.T, _ *redistest.Server, p *redistest.Proxy) { p.BlackHole(false) }},
	{"delay", func(_ *testing.T, _ *redistest.Server, p *redistest.Proxy) { p.DelayReplies(time.Second) },
		func(_ *testing.T, _ *redistest.Server, p *redistest.Proxy) { p.DelayReplies(0) }},
	{"refuse", func(_ *testing.T, _ *redistest.Server, p *redistest.Proxy) { p.Refuse(true) },
		func(_ *testing.T, _ *redistest.Server, p *redistest.Proxy) { p.Refuse(false) }},
}

// TestFaults breaks Redis under load, in each way, and repairs it. No call waits much
// longer than its budget. The fail modes decide as documented. The admitted calls stay
// within the quota and are charged once. A moment after the repair Redis decides all
// calls again.
func TestFaults(t *testing.T) {
	redistest.Long(t)
	for _, budget := range []time.Duration{150 * time.Millisecond, 50 * time.Millisecond} {
		for _, f := range faults {
			if budget < 100*time.Millisecond && (f.name == "delay" || f.name == "refuse") {
				continue // like the black hole and the kill
			}
			t.Run(fmt.Sprintf("%s/%v", f.name, budget), func(t *testing.T) {
				inTime(t, func() []string { return f.run(t, budget) })
			})
		}
	}
}

func (f fault) run(t *testing.T, budget time.Duration) (complaints []string) {
	// The server writes each change to disk, so that it keeps its decisions over a
	// restart.
	server := redistest.NewSingle(t, "--appendonly", "yes", "--appendfsync", "always")
	proxy := redistest.NewProxy(t, server.Addrs()[0])
	l := startLoad(t, recommendedClient(t, "redis://"+proxy.Addr()), budget, func(int) string { return "key" })
	l.settle()
	goroutines := runtime.NumGoroutine()

	broken := time.Now()
	f.breakIt(t, server, proxy)
	time.Sleep(800 * time.Millisecond)
	l.await("all fail modes decide", l.failModesDecided)
	// If something leaked with each call of the outage, the number would not get so small
	// again.
	l.await("goroutines are as few as callers", func() bool {
		return runtime.NumGoroutine()-goroutines <= 3*loadCallers
	})
	f.mend(t, server, proxy)
	mended := time.Now()
	l.normalFor(700*time.Millisecond, 5*time.Second)
	l.check()
	l.checkCharged()
	t.Logf("slowest call %v, normal %v after Redis was back; %d calls, %d of them degraded in the %v of the outage",
		l.slowest.Round(time.Millisecond), max(l.last.Sub(mended), 0).Round(time.Millisecond), l.calls, l.degraded, mended.Sub(broken).Round(time.Millisecond))
	return l.late(budget, mended)
}

// checkCharged: each admitted call was charged once, and each lost one at most once.
func (l *load) checkCharged() {
	l.t.Helper()
	const p = 3
	var d ratelimit.Decision
	l.await("Redis decides", func() bool {
		var err error
		if d, err = l.limiter.Peek(context.Background(), loadPolicies[p], "key"); err != nil {
			l.t.Fatal(err)
		}
		return d.Degraded == nil
	})
	charged := 1_000_000 - int(d.Remaining)
	if charged < l.admitted[p] || charged > l.admitted[p]+l.unknown[p] {
		l.t.Errorf("%d charged for %d admitted calls and %d whose reply was lost", charged, l.admitted[p], l.unknown[p])
	}
}

// TestMasterOfClusterDies: the calls of two shards go on; those of the third follow their
// fail mode until its replica is promoted, and then are decided there.
func TestMasterOfClusterDies(t *testing.T) {
	redistest.Long(t)
	inTime(t, func() []string { return masterDies(t) })
}

func masterDies(t *testing.T) (complaints []string) {
	const budget = 150 * time.Millisecond
	cluster := redistest.NewCluster(t)
	l := startLoad(t, recommendedClient(t, cluster.URL()), budget, func(caller int) string { return fmt.Sprint("key", caller) })
	l.settle()
	calls, degraded := l.counts()
	var replicas []*redistest.Node
	for _, n := range cluster.Nodes() {
		if n.Role() != "master" {
			replicas = append(replicas, n)
		}
	}

	killed := time.Now()
	cluster.Master(t, "some key").Kill(t)
	time.Sleep(900 * time.Millisecond)
	callsNow, degradedNow := l.counts()
	if calls, degraded = callsNow-calls, degradedNow-degraded; degraded == 0 || degraded > calls*2/3 {
		complaints = append(complaints, fmt.Sprintf("of %d calls just after the death of one of three masters, %d degraded", calls, degraded))
	}
	for !slices.ContainsFunc(replicas, func(n *redistest.Node) bool { return n.Role() == "master" }) {
		if time.Since(killed) > time.Minute {
			t.Fatal("no replica was promoted")
		}
		time.Sleep(10 * time.Millisecond)
	}
	promoted := time.Now()
	l.normalFor(time.Second, 10*time.Second)
	l.end()
	t.Logf("promoted %v after the kill, normal %v later; slowest call %v; %d of %d calls degraded in the first 900 ms",
		promoted.Sub(killed).Round(time.Millisecond), max(l.last.Sub(promoted), 0).Round(time.Millisecond), l.slowest.Round(time.Millisecond), degraded, calls)
	return append(complaints, l.late(budget, promoted)...)
}

func (l *load) counts() (calls, degraded int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls, l.degraded
}

// TestFrozenRedisCostsFewCallersTheirBudget: only the first callers wait for their
// budget, and those whose calls find out whether Redis is back.
func TestFrozenRedisCostsFewCallersTheirBudget(t *testing.T) {
	redistest.Long(t)
	inTime(t, func() (complaints []string) {
		const budget = 150 * time.Millisecond
		server := redistest.NewSingle(t)
		limiter, err := ratelimit.New(kvtest.Open(t, recommendedClient(t, server.URL()), gatekit.Options{Prefix: redistest.Prefix(t), Budget: budget}), ratelimit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		policy := ratelimit.MustPolicy("api", ratelimit.PerSecond(10)).OnFailure(ratelimit.FailOpen)
		if _, err := limiter.Take(t.Context(), policy, "key"); err != nil {
			t.Fatal(err)
		}
		server.Freeze(t)
		defer server.Thaw(t)
		slow, fast := 0, 0
		for start := time.Now(); time.Since(start) < 2*time.Second; {
			before := time.Now()
			d, err := limiter.Take(t.Context(), policy, "key")
			if err != nil || d.Degraded == nil || !d.Allowed {
				t.Fatalf("%+v, %v from a frozen Redis", d, err)
			}
			if time.Since(before) > budget/3 {
				slow++
			} else {
				fast++
				time.Sleep(time.Millisecond)
			}
		}
		t.Logf("%d calls waited for a frozen Redis, %d did not", slow, fast)
		if slow > 12 || fast < 100 {
			complaints = append(complaints, fmt.Sprintf("%d calls waited for a frozen Redis, %d did not", slow, fast))
		}
		return complaints
	})
}

// TestCallThatAsksNothingWhileRedisIsAway: a call that asks Redis nothing does not use up
// the attempt that finds out that Redis is back.
func TestCallThatAsksNothingWhileRedisIsAway(t *testing.T) {
	server := redistest.NewSingle(t)
	limiter, err := ratelimit.New(kvtest.Open(t, recommendedClient(t, server.URL()), gatekit.Options{Prefix: redistest.Prefix(t)}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	policy := ratelimit.MustPolicy("api", ratelimit.PerHour(10))
	server.Kill(t)
	for range 10 {
		if _, err := limiter.Take(t.Context(), policy, "key"); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(600 * time.Millisecond) // one call may ask again
	ds, err := limiter.TakeMany(t.Context(), []ratelimit.Request{{Policy: policy, Key: "key", Cost: 11}})
	if err != nil || ds[0].RetryAfter != ratelimit.Never {
		t.Fatalf("a cost above the quota: %+v, %v", ds, err)
	}
	server.Restart(t)
	var last error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		d, err := limiter.Take(t.Context(), policy, "key")
		if err == nil && d.Degraded == nil {
			return
		}
		last = errors.Join(err, d.Degraded)
	}
	t.Errorf("a minute after Redis was back: %v", last)
}

// TestImpatientCallersOfAFrozenRedis: a call that its caller ends before the budget does
// not show that Redis answers.
func TestImpatientCallersOfAFrozenRedis(t *testing.T) {
	redistest.Long(t)
	inTime(t, func() (complaints []string) {
		server := redistest.NewSingle(t)
		limiter, err := ratelimit.New(kvtest.Open(t, recommendedClient(t, server.URL()), gatekit.Options{Prefix: redistest.Prefix(t), Budget: time.Second}), ratelimit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		policy := ratelimit.MustPolicy("api", ratelimit.PerHour(1000))
		call := func(patience time.Duration) (took time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			start := time.Now()
			if _, err := limiter.Take(ctx, policy, "key"); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		call(time.Second)
		server.Freeze(t)
		defer server.Thaw(t)
		for range 8 { // the client's read timeout of 100 ms is a failure
			call(time.Second)
		}
		time.Sleep(600 * time.Millisecond)
		call(30 * time.Millisecond) // asks, and does not wait
		var wg sync.WaitGroup
		var slow atomic.Int64
		for range 20 {
			wg.Go(func() {
				if call(time.Second) > 80*time.Millisecond {
					slow.Add(1)
				}
			})
		}
		if wg.Wait(); slow.Load() > 2 {
			complaints = append(complaints, fmt.Sprintf("%d of 20 calls waited for a frozen Redis after one that did not", slow.Load()))
		}
		return complaints
	})
}
