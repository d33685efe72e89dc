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

	"github.com/gatekit/gatekit/lua"
	"github.com/gatekit/gatekit/lua/luatest"
	"github.com/gatekit/gatekit/ratelimit"
)

// outages counts what an observer is told.
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

// loadPolicies are what the callers take turns with. The first three are used up soon, each by one key; the last one is not.
var loadPolicies = []*ratelimit.Policy{
	ratelimit.MustPolicy("open", ratelimit.Per(loadQuota, time.Hour)).OnFailure(ratelimit.FailOpen),
	ratelimit.MustPolicy("closed", ratelimit.Per(loadQuota, time.Hour)).OnFailure(ratelimit.FailClosed),
	ratelimit.MustPolicy("local", ratelimit.Per(loadQuota, time.Hour)).OnFailure(ratelimit.FailLocal),
	ratelimit.MustPolicy("charged", ratelimit.Limit{Quota: 1e6, Window: time.Hour, Algorithm: ratelimit.SlidingBuckets}).OnFailure(ratelimit.FailClosed),
}

// load is many callers of one limiter, and what came of their calls.
type load struct {
	t       *testing.T
	limiter *ratelimit.Limiter
	outages outages
	still   *standstill
	stop    chan struct{}
	wg      sync.WaitGroup

	mu       sync.Mutex // guards what follows
	calls    int
	slowest  time.Duration // of the machine's standstill only what hit no other goroutine is in it
	degraded int
	last     time.Time // when the last degraded call began
	reasons  map[string]int
	// By policy:
	admitted [4]int // by Redis
	allowed  [4]int // by the fail mode
	unknown  [4]int // maybe charged, nobody knows
}

func startLoad(t *testing.T, client redis.UniversalClient, budget time.Duration, key func(caller int) string) *load {
	t.Helper()
	l := &load{t: t, still: watchStandstill(t), stop: make(chan struct{}), reasons: map[string]int{}}
	var err error
	l.limiter, err = ratelimit.New(client, ratelimit.Options{Prefix: luatest.Prefix(t), Budget: budget, Instances: loadInstances, Observer: &l.outages})
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
	took := l.still.since(start)
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
		if !errors.Is(d.Degraded, lua.ErrUnavailable) {
			l.t.Errorf("Degraded is %v, want lua.ErrUnavailable", d.Degraded)
		}
		if d.Allowed {
			l.allowed[p]++
		}
		if errors.Is(d.Degraded, lua.ErrUnknownOutcome) {
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

// normalFor waits until no call degrades for d, and returns when the last one that did began.
func (l *load) normalFor(d, limit time.Duration) (last time.Time) {
	l.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		l.mu.Lock()
		last = l.last
		l.mu.Unlock()
		if time.Since(last) > d {
			return last
		}
		if time.Now().After(end) {
			l.t.Errorf("calls still degrade %v after the fault", limit)
			return time.Now()
		}
	}
}

// reset forgets the latencies so far, which were those of starting up.
func (l *load) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = 0
}

// check holds the counts against the fail modes and the quota; kept tells that Redis lost no data.
func (l *load) check(budget time.Duration, kept bool) {
	l.t.Helper()
	l.end()
	if l.slowest > 2*budget {
		l.t.Errorf("a call took %v with a budget of %v", l.slowest, budget)
	}
	for p, policy := range loadPolicies[:3] {
		if l.admitted[p] > loadQuota && kept {
			l.t.Errorf("%s: %d admitted by Redis, quota %d", policy.Name(), l.admitted[p], loadQuota)
		}
	}
	if l.allowed[0] == 0 || l.allowed[1] != 0 {
		l.t.Errorf("while Redis did not decide, FailOpen allowed %d and FailClosed %d", l.allowed[0], l.allowed[1])
	}
	if share := loadQuota / loadInstances; l.allowed[2] > share || l.allowed[2] == 0 {
		l.t.Errorf("while Redis did not decide, FailLocal allowed %d; the share of a process is %d", l.allowed[2], share)
	}
	if lost, back := l.outages.lost.Load(), l.outages.back.Load(); lost != 1 || back != 1 {
		l.t.Errorf("the observer was told %d times of losing Redis and %d times of regaining it, want once each", lost, back)
	}
}

func recommendedClient(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	options, err := lua.RecommendedOptions(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewUniversalClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

// TestFaults breaks Redis under load, in each way, and mends it. No call waits much longer than its budget; the fail modes
// do as documented; what was decided stays within the quota and is charged once; and a moment later all is well again.
func TestFaults(t *testing.T) {
	for _, fault := range []struct {
		name        string
		breakIt     func(*testing.T, *luatest.Server, *luatest.Proxy)
		mend        func(*testing.T, *luatest.Server, *luatest.Proxy)
		alsoShorter bool // with a budget of 50 ms too
	}{
		{"kill", func(t *testing.T, s *luatest.Server, _ *luatest.Proxy) { s.Kill(t) },
			func(t *testing.T, s *luatest.Server, _ *luatest.Proxy) { s.Restart(t) }, true},
		{"freeze", func(t *testing.T, s *luatest.Server, _ *luatest.Proxy) { s.Freeze(t) },
			func(t *testing.T, s *luatest.Server, _ *luatest.Proxy) { s.Thaw(t) }, true},
		{"black hole", func(_ *testing.T, _ *luatest.Server, p *luatest.Proxy) { p.BlackHole(true) },
			func(_ *testing.T, _ *luatest.Server, p *luatest.Proxy) { p.BlackHole(false) }, true},
		{"delay", func(_ *testing.T, _ *luatest.Server, p *luatest.Proxy) { p.DelayReplies(time.Second) },
			func(_ *testing.T, _ *luatest.Server, p *luatest.Proxy) { p.DelayReplies(0) }, false},
		{"refuse", func(_ *testing.T, _ *luatest.Server, p *luatest.Proxy) { p.Refuse(true) },
			func(_ *testing.T, _ *luatest.Server, p *luatest.Proxy) { p.Refuse(false) }, false},
	} {
		budgets := []time.Duration{150 * time.Millisecond}
		if fault.alsoShorter {
			budgets = append(budgets, 50*time.Millisecond)
		}
		for _, budget := range budgets {
			t.Run(fmt.Sprintf("%s/%v", fault.name, budget), func(t *testing.T) {
				server := luatest.NewSingle(t, "--appendonly", "yes", "--appendfsync", "always")
				proxy := luatest.NewProxy(t, server.Addrs()[0])
				l := startLoad(t, recommendedClient(t, "redis://"+proxy.Addr()), budget, func(int) string { return "key" })
				l.normalFor(300*time.Millisecond, 10*time.Second)
				l.outages.lost.Store(0) // starting up may take longer than a budget
				l.outages.back.Store(0)
				l.reset()
				goroutines := runtime.NumGoroutine()

				broken := time.Now()
				fault.breakIt(t, server, proxy)
				time.Sleep(800 * time.Millisecond)
				if growth := runtime.NumGoroutine() - goroutines; growth > 3*loadCallers {
					t.Errorf("%d goroutines more during the outage, with %d callers", growth, loadCallers)
				}
				fault.mend(t, server, proxy)
				mended := time.Now()
				back := max(l.normalFor(700*time.Millisecond, 5*time.Second).Sub(mended), 0)
				if back > 3*time.Second {
					t.Errorf("calls degraded until %v after Redis was back", back)
				}
				l.check(budget, true)
				t.Logf("slowest call %v, normal %v after Redis was back; %d calls, %d of them degraded in the %v of the outage",
					l.slowest.Round(time.Millisecond), back.Round(time.Millisecond), l.calls, l.degraded, mended.Sub(broken).Round(time.Millisecond))
				l.checkCharged(server)
			})
		}
	}
}

// checkCharged: each admitted call was charged once, and each lost one at most once.
func (l *load) checkCharged(server *luatest.Server) {
	l.t.Helper()
	const p = 3
	d, err := l.limiter.Peek(context.Background(), loadPolicies[p], "key")
	if err != nil || d.Degraded != nil {
		l.t.Fatal(err, d.Degraded)
	}
	charged := 1_000_000 - int(d.Remaining)
	if charged < l.admitted[p] || charged > l.admitted[p]+l.unknown[p] {
		l.t.Errorf("%d charged for %d admitted calls and %d whose reply was lost", charged, l.admitted[p], l.unknown[p])
	}
}

// TestMasterOfClusterDies: the calls of two shards go on; those of the third follow their fail mode until its replica is
// promoted, and then are decided there.
func TestMasterOfClusterDies(t *testing.T) {
	const budget = 150 * time.Millisecond
	cluster := luatest.NewCluster(t)
	client := recommendedClient(t, cluster.URL())
	l := startLoad(t, client, budget, func(caller int) string { return fmt.Sprint("key", caller) })
	l.normalFor(300*time.Millisecond, 10*time.Second)
	l.outages.lost.Store(0)
	l.outages.back.Store(0)
	l.reset()
	l.mu.Lock()
	calls, degraded := l.calls, l.degraded
	l.mu.Unlock()

	var others []*luatest.Node // that are no masters yet
	for _, n := range cluster.Nodes() {
		if n.Role() != "master" {
			others = append(others, n)
		}
	}
	killed := time.Now()
	cluster.Master(t, "some key").Kill(t)
	time.Sleep(900 * time.Millisecond)
	l.mu.Lock()
	calls, degraded = l.calls-calls, l.degraded-degraded
	l.mu.Unlock()
	if degraded == 0 || degraded > calls*2/3 {
		t.Errorf("of %d calls just after the death of one of three masters, %d degraded", calls, degraded)
	}
	for !slices.ContainsFunc(others, func(n *luatest.Node) bool { return n.Role() == "master" }) {
		if time.Since(killed) > 30*time.Second {
			t.Fatal("no replica was promoted")
		}
		time.Sleep(10 * time.Millisecond)
	}
	promoted := time.Now()
	last := l.normalFor(time.Second, 15*time.Second)
	if back := last.Sub(promoted); back > 3*time.Second {
		t.Errorf("calls degraded until %v after the replica was promoted", back)
	}
	t.Logf("promoted %v after the kill, normal %v later", promoted.Sub(killed), last.Sub(promoted))
	t.Logf("slowest call %v; normal %v after the kill; %d of %d calls degraded in the first 900 ms", l.slowest.Round(time.Millisecond), last.Sub(killed).Round(time.Millisecond), degraded, calls)
	if l.end(); l.slowest > 2*budget {
		t.Errorf("a call took %v with a budget of %v", l.slowest, budget)
	}
	if lost, back := l.outages.lost.Load(), l.outages.back.Load(); lost != back || lost == 0 {
		t.Errorf("the observer was told %d times of losing Redis and %d times of regaining it", lost, back)
	}
}

// TestSlowestCallOfAFrozenRedis is what the first callers pay, and those that find out whether Redis is back.
func TestFrozenRedisCostsFewCallersTheirBudget(t *testing.T) {
	const budget = 150 * time.Millisecond
	server := luatest.NewSingle(t)
	limiter, err := ratelimit.New(recommendedClient(t, server.URL()), ratelimit.Options{Prefix: luatest.Prefix(t), Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	policy := ratelimit.MustPolicy("api", ratelimit.PerSecond(10)).OnFailure(ratelimit.FailOpen)
	if _, err := limiter.Take(t.Context(), policy, "key"); err != nil {
		t.Fatal(err)
	}
	server.Freeze(t)
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
	server.Thaw(t)
	t.Logf("%d calls waited for a frozen Redis, %d did not", slow, fast)
	if slow > 12 || fast < 100 {
		t.Errorf("%d calls waited for a frozen Redis, %d did not", slow, fast)
	}
}
