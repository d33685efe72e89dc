package ratelimit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

var (
	byIP  = ratelimit.MustByIP(ratelimit.IPOptions{})
	byKey = ratelimit.ByHeader("X-Api-Key")

	ipKey  = ratelimit.Join("ip", "192.0.2.1") // of httptest's requests
	apiKey = ratelimit.Join("header", "X-Api-Key", "k1")
)

func gateLimiter(t testing.TB, s *redistest.Server, opts ratelimit.Options) *ratelimit.Limiter {
	t.Helper()
	return loggingLimiter(t, s, opts, nil)
}

// loggingLimiter logs to log; nil is the default logger.
func loggingLimiter(t testing.TB, s *redistest.Server, opts ratelimit.Options, log io.Writer) *ratelimit.Limiter {
	t.Helper()
	// With a large budget the fail modes do not decide on a machine that is busy with
	// other tests.
	given := gatekit.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second}
	if log != nil {
		given.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	kv := kvtest.Open(t, s.Client(t), given)
	limiter, err := ratelimit.New(kv, opts)
	if err != nil {
		t.Fatal(err)
	}
	return limiter
}

func newGate(t testing.TB, limiter *ratelimit.Limiter, opts ratelimit.GateOptions, rules ...ratelimit.Rule) *ratelimit.Gate {
	t.Helper()
	gate, err := ratelimit.NewGate(limiter, opts, rules...)
	if err != nil {
		t.Fatal(err)
	}
	return gate
}

// apiRequest comes from 192.0.2.1 with the API key k1.
func apiRequest() *http.Request {
	r := httptest.NewRequest("GET", "/reports/7", nil)
	r.Header.Set("X-Api-Key", "k1")
	return r
}

// headers returns the header fields that a verdict writes.
func headers(v ratelimit.Verdict) http.Header {
	h := http.Header{}
	v.Header(h)
	return h
}

// wantLeft fails the test if the key has another number of permits left.
func wantLeft(t *testing.T, limiter *ratelimit.Limiter, p *ratelimit.Policy, key string, want int64) {
	t.Helper()
	d, err := limiter.Peek(context.Background(), p, key)
	if err != nil || d.Remaining != want {
		t.Errorf("policy %s: got %d permits left, %v, want %d", p.Name(), d.Remaining, err, want)
	}
}

func wantStatus(t *testing.T, v ratelimit.Verdict, want int) {
	t.Helper()
	if v.Status != want {
		t.Fatalf("got status %d (%v), want %d", v.Status, v.Err, want)
	}
}

func TestGateRefusesWrongRules(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	api := ratelimit.MustPolicy("api", ratelimit.PerSecond(10), ratelimit.PerHour(100))
	choose := func(*http.Request) *ratelimit.Policy { return api }
	rule := ratelimit.Rule{Policy: api, Key: byIP}
	id := func(*http.Request) string { return "" }
	const none = "gatekit: the *ratelimit.Limiter is nil: make it first, and look at the error" // as in every constructor
	if _, err := ratelimit.NewGate(nil, ratelimit.GateOptions{}, rule); err == nil || err.Error() != none {
		t.Errorf("no limiter: got error %v, want %q", err, none)
	}
	for _, c := range []struct {
		name    string
		limiter *ratelimit.Limiter
		opts    ratelimit.GateOptions
		rules   []ratelimit.Rule
		want    string // "" for no error
	}{
		{"one rule", limiter, ratelimit.GateOptions{}, []ratelimit.Rule{rule}, ""},
		{"chosen policy", limiter, ratelimit.GateOptions{}, []ratelimit.Rule{{PolicyFunc: choose, Key: byIP, CallID: id}, rule}, ""},
		{"call id", limiter, ratelimit.GateOptions{}, []ratelimit.Rule{{CallID: id, Key: byIP,
			Policy: ratelimit.MustPolicy("p", ratelimit.Limit{Quota: 1, Window: time.Second, Algorithm: ratelimit.SlidingLog})}}, ""},
		{"no rule", limiter, ratelimit.GateOptions{}, nil, "0 rules: want 1 to 16"},
		{"17 rules", limiter, ratelimit.GateOptions{}, make([]ratelimit.Rule, 17), "17 rules: want 1 to 16"},
		{"headers", limiter, ratelimit.GateOptions{Headers: ratelimit.Draft10 + 2}, []ratelimit.Rule{rule}, "Headers 2: want Draft10 or NoHeaders"},
		{"no policy", limiter, ratelimit.GateOptions{}, []ratelimit.Rule{{Key: byIP}}, "rule 0: neither Policy nor PolicyFunc"},
		{"two policies", limiter, ratelimit.GateOptions{}, []ratelimit.Rule{rule, {Policy: api, PolicyFunc: choose, Key: byIP}},
			"rule 1: both Policy and PolicyFunc"},
		{"no key", limiter, ratelimit.GateOptions{}, []ratelimit.Rule{{Policy: api}}, "rule 0: no Key"},
		{"call id that nothing remembers", limiter, ratelimit.GateOptions{}, []ratelimit.Rule{{Policy: api, Key: byIP, CallID: id}},
			`rule 0: CallID: Policy "api" has no SlidingLog`},
		{"one policy twice", limiter, ratelimit.GateOptions{}, []ratelimit.Rule{rule, {Policy: api, Key: byKey}},
			`rule 1: Policy "api": header item "api-second" is that of rule 0`},
		{"one item name twice", limiter, ratelimit.GateOptions{},
			[]ratelimit.Rule{rule, {Policy: ratelimit.MustPolicy("api-hour", ratelimit.PerDay(1)), Key: byKey}},
			`rule 1: Policy "api-hour": header item "api-hour" is that of rule 0`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ratelimit.NewGate(c.limiter, c.opts, c.rules...)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), "ratelimit: gate: "+c.want) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
		})
	}
}

// If rules were decided one after the other, a client that one rule denies would use up
// the other.
func TestGateDenialSpendsNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		limiter := gateLimiter(t, s, ratelimit.Options{})
		perIP := ratelimit.MustPolicy("ip", ratelimit.PerHour(2))
		perKey := ratelimit.MustPolicy("key", ratelimit.PerHour(100),
			ratelimit.Limit{Name: "day", Quota: 1e6, Window: 24 * time.Hour, Algorithm: ratelimit.SlidingBuckets})
		shadow := ratelimit.MustPolicy("shadow", ratelimit.PerDay(50))
		gate := newGate(t, limiter, ratelimit.GateOptions{},
			ratelimit.Rule{Policy: perKey, Key: byKey},
			ratelimit.Rule{Policy: perIP, Key: byIP},
			ratelimit.Rule{Policy: shadow, Key: byKey, DryRun: true})
		for i := range 2 {
			v := gate.Check(apiRequest(), "")
			wantStatus(t, v, 0)
			if len(v.Decisions) != 3 {
				t.Fatalf("request %d: got %d decisions, want 3", i, len(v.Decisions))
			}
		}
		for i := range 5 {
			v := gate.Check(apiRequest(), "")
			wantStatus(t, v, http.StatusTooManyRequests)
			if v.RetryAfter < 59*time.Minute || v.RetryAfter > time.Hour {
				t.Errorf("RetryAfter %v, want nearly 1 h", v.RetryAfter)
			}
			h := headers(v)
			// On a cluster the address that was denied before is asked first, and the key
			// is not asked.
			asked := i == 0 || s.Name() != "cluster"
			got := h.Get("RateLimit")
			if asked && (!strings.HasPrefix(got, `"key-hour";r=98;t=`) || !strings.Contains(got, `, "key-day";r=999998;t=`)) {
				t.Errorf("RateLimit: got %s, want what is left to the key, 98 and 999998", got)
			}
			if !asked && strings.Contains(got, "key") {
				t.Errorf("RateLimit: got %s, want nothing of the key", got)
			}
			if d := v.Decisions[0]; !d.Allowed || d.Spent || d.GivenBack != (asked && s.Name() == "cluster") || (d.Remaining == ratelimit.Unknown) == asked {
				t.Errorf("decision of the key: got %+v, want allowed and not spent", d)
			}
			if got := string(v.Body()); !strings.Contains(got, `"violated-policies":["ip"]`) {
				t.Errorf("got body %s, want the policy ip alone", got)
			}
		}
		wantLeft(t, limiter, perKey, apiKey, 98)
		wantLeft(t, limiter, shadow, apiKey, 48)
		wantLeft(t, limiter, perIP, ipKey, 0)

		// Another address may still use all of the key's quota.
		r := apiRequest()
		r.RemoteAddr = "192.0.2.2:1"
		wantStatus(t, gate.Check(r, ""), 0)
	})
}

func TestGateCostAboveAQuotaAsksNobody(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	small, whole := ratelimit.MustPolicy("small", ratelimit.PerHour(1)), ratelimit.MustPolicy("whole", ratelimit.PerHour(9))
	gate := newGate(t, limiter, ratelimit.GateOptions{},
		ratelimit.Rule{Policy: small, Key: byKey, Cost: func(*http.Request) int64 { return 2 }},
		ratelimit.Rule{Policy: whole, Key: byIP, Cost: func(*http.Request) int64 { return 3 }})
	v := gate.Check(apiRequest(), "")
	wantStatus(t, v, http.StatusTooManyRequests)
	if h := headers(v); h.Get("RateLimit") != "" || h.Get("Retry-After") != "" || v.RetryAfter != ratelimit.Never {
		t.Errorf("a cost above one quota: got %v and RetryAfter %v, want no state and no Retry-After", h, v.RetryAfter)
	}
	wantLeft(t, limiter, whole, ipKey, 9)
}

// Parallel requests compete for the quota of one address. As many pass as the quota
// allows, and the API key is charged for those only.
func TestGateInParallel(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		limiter := gateLimiter(t, s, ratelimit.Options{})
		perIP, perKey := ratelimit.MustPolicy("ip", ratelimit.PerHour(10)), ratelimit.MustPolicy("key", ratelimit.PerHour(1000))
		gate := newGate(t, limiter, ratelimit.GateOptions{},
			ratelimit.Rule{Policy: perIP, Key: byIP}, ratelimit.Rule{Policy: perKey, Key: byKey})
		var mu sync.Mutex
		passed := 0
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for range 10 {
					if v := gate.Check(apiRequest(), ""); v.Status == 0 {
						mu.Lock()
						passed++
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		if passed != 10 {
			t.Errorf("%d of 160 requests passed, want 10", passed)
		}
		wantLeft(t, limiter, perKey, apiKey, 990)
	})
}

func TestGateRoundTrips(t *testing.T) {
	s := redistest.Single(t)
	proxy := redistest.NewProxy(t, s.Nodes()[0].Addr())
	limiter, err := ratelimit.New(kvtest.Open(t, redistest.NewClient(t, proxy.Addr()), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	policy := func(name string, quota int64) *ratelimit.Policy {
		return ratelimit.MustPolicy(name, ratelimit.PerHour(quota))
	}
	none := func(*http.Request) (string, error) { return "", nil }
	skip := func(*http.Request) bool { return true }
	unknown := func(*http.Request) int64 { return -1 }
	dear := func(*http.Request) int64 { return 2 }
	wrong := func(*http.Request) (string, error) { return "", errors.New("wrong") }
	ended, end := context.WithCancel(context.Background())
	end()
	// The client connects, for single commands and for pipelines, and the server learns
	// the scripts.
	newGate(t, limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: policy("w", 1), Key: byIP}).Check(apiRequest(), "")
	two := newGate(t, limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: policy("w", 1), Key: byIP}, ratelimit.Rule{Policy: policy("x", 9), Key: byIP})
	wantStatus(t, two.Check(apiRequest(), ""), 429)
	for _, c := range []struct {
		name   string
		ctx    context.Context
		rules  []ratelimit.Rule
		status int
		trips  int64
	}{
		{"one rule", nil, []ratelimit.Rule{{Policy: policy("a", 1), Key: byIP}}, 0, 1},
		{"one rule, denied", nil, []ratelimit.Rule{{Policy: policy("a", 1), Key: byIP}}, 429, 1},
		{"three rules", nil, []ratelimit.Rule{{Policy: policy("b", 9), Key: byIP}, {Policy: policy("c", 9), Key: byKey},
			{Policy: policy("d", 9), Key: ratelimit.Everyone()}}, 0, 1},
		{"denied, the other not spent", nil, []ratelimit.Rule{{Policy: policy("a", 1), Key: byIP}, {Policy: policy("c", 9), Key: byKey}}, 429, 1},
		{"above a quota", nil, []ratelimit.Rule{{Policy: policy("a", 1), Key: byIP, Cost: dear}, {Policy: policy("c", 9), Key: byKey}}, 429, 0},
		{"no key", nil, []ratelimit.Rule{{Policy: policy("a", 1), Key: none}}, 0, 0},
		{"skipped", nil, []ratelimit.Rule{{Policy: policy("a", 1), Key: byIP, Skip: skip}}, 0, 0},
		{"wrong cost, after a good rule", nil, []ratelimit.Rule{{Policy: policy("b", 9), Key: byIP}, {Policy: policy("c", 9), Key: byKey, Cost: unknown}}, 500, 0},
		{"wrong key, after a good rule", nil, []ratelimit.Rule{{Policy: policy("b", 9), Key: byIP}, {Policy: policy("c", 9), Key: wrong}}, 400, 0},
		{"the client has gone", ended, []ratelimit.Rule{{Policy: policy("b", 9), Key: byIP}, {Policy: policy("c", 9), Key: byKey}}, 503, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			gate := newGate(t, limiter, ratelimit.GateOptions{}, c.rules...)
			r := apiRequest()
			if c.ctx != nil {
				r = r.WithContext(c.ctx)
			}
			var v ratelimit.Verdict
			passed := proxy.During(func() { v = gate.Check(r, "") })
			if v.Status != c.status || passed.RoundTrips != c.trips {
				t.Errorf("got status %d in %d round trips (%v), want %d in %d", v.Status, passed.RoundTrips, passed.Commands, c.status, c.trips)
			}
		})
	}
	wantLeft(t, limiter, policy("b", 9), ipKey, 8) // only the three rules spent from these
	wantLeft(t, limiter, policy("c", 9), apiKey, 8)
}

func TestGateRuleThatDoesNotApply(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	perKey, perIP := ratelimit.MustPolicy("key", ratelimit.PerHour(1)), ratelimit.MustPolicy("ip", ratelimit.PerHour(3))
	health := func(r *http.Request) bool { return r.URL.Path == "/health" }
	gate := newGate(t, limiter, ratelimit.GateOptions{Skip: health},
		ratelimit.Rule{Policy: perKey, Key: byKey, Skip: func(r *http.Request) bool { return r.Method == "OPTIONS" }},
		ratelimit.Rule{Policy: perIP, Key: byIP},
		ratelimit.Rule{PolicyFunc: func(*http.Request) *ratelimit.Policy { return nil }, Key: byIP})
	wantStatus(t, gate.Check(apiRequest(), ""), 0)
	wantStatus(t, gate.Check(apiRequest(), ""), 429)

	for range 2 { // without the key only the limit by address applies
		v := gate.Check(httptest.NewRequest("GET", "/", nil), "")
		wantStatus(t, v, 0)
		if got := headers(v).Get("RateLimit-Policy"); got != `"ip";q=3;w=3600` {
			t.Errorf("without a key: got RateLimit-Policy %s", got)
		}
	}
	wantStatus(t, gate.Check(httptest.NewRequest("GET", "/", nil), ""), 429)

	options := apiRequest()
	options.Method, options.RemoteAddr = "OPTIONS", "192.0.2.77:1"
	wantStatus(t, gate.Check(options, ""), 0)

	probe := httptest.NewRequest("GET", "/health", nil)
	v := gate.Check(probe, "")
	passed, err := gate.Admit(http.Header{}, probe, "")
	if wantStatus(t, v, 0); len(headers(v)) != 0 || len(v.Decisions) != 0 || err != nil || passed != probe {
		t.Errorf("skipped request: got %v and %v", headers(v), v.Decisions)
	}
}

func TestGatePolicyByRequest(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	free, pro := ratelimit.MustPolicy("plan", ratelimit.PerHour(2)), ratelimit.MustPolicy("plan", ratelimit.PerHour(5))
	plan := free
	gate := newGate(t, limiter, ratelimit.GateOptions{},
		ratelimit.Rule{PolicyFunc: func(*http.Request) *ratelimit.Policy { return plan }, Key: byKey})
	for want := range []int{0, 1} {
		v := gate.Check(apiRequest(), "")
		if got := headers(v).Get("RateLimit"); !strings.HasPrefix(got, `"plan";r=`+strconv.Itoa(1-want)+";") {
			t.Errorf("got RateLimit %s", got)
		}
	}
	wantStatus(t, gate.Check(apiRequest(), ""), 429)
	plan = pro // what was spent stays spent
	v := gate.Check(apiRequest(), "")
	wantStatus(t, v, 0)
	if h := headers(v); h.Get("RateLimit-Policy") != `"plan";q=5;w=3600` || !strings.HasPrefix(h.Get("RateLimit"), `"plan";r=2;`) {
		t.Errorf("after the upgrade: got %v, want 2 of 5 left", h)
	}
}

func TestGateCost(t *testing.T) {
	var log bytes.Buffer
	limiter := loggingLimiter(t, redistest.Embedded(t), ratelimit.Options{}, &log)
	window := ratelimit.MustPolicy("window", ratelimit.PerHour(10))
	sticky := ratelimit.MustPolicy("sticky", ratelimit.Limit{Quota: 1000, Window: time.Hour, Algorithm: ratelimit.SlidingLog})
	for _, c := range []struct {
		policy *ratelimit.Policy
		cost   int64
		status int
	}{
		{window, 4, 0}, {window, 7, 429}, {window, 6, 0}, {window, 11, 429},
		{window, 0, 429}, {window, -1, 500}, {window, 1e9 + 1, 500}, {sticky, 100, 0}, {sticky, 101, 500},
	} {
		t.Run(fmt.Sprintf("%s, cost %d", c.policy.Name(), c.cost), func(t *testing.T) {
			log.Reset()
			gate := newGate(t, limiter, ratelimit.GateOptions{},
				ratelimit.Rule{Policy: c.policy, Key: byIP, Cost: func(*http.Request) int64 { return c.cost }})
			v := gate.Check(apiRequest(), "")
			if v.Status != c.status {
				t.Errorf("%s, cost %d: got status %d (%v), want %d", c.policy.Name(), c.cost, v.Status, v.Err, c.status)
			}
			if (c.status == 500) != strings.Contains(log.String(), "rule 0: cost "+strconv.FormatInt(c.cost, 10)) {
				t.Errorf("%s, cost %d: got log %q, want the cost in it: %v", c.policy.Name(), c.cost, log.String(), c.status == 500)
			}
		})
	}
}

func TestGatePerRoute(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		var log bytes.Buffer
		limiter := loggingLimiter(t, s, ratelimit.Options{}, &log)
		p := ratelimit.MustPolicy("p", ratelimit.PerHour(1))
		gate := newGate(t, limiter, ratelimit.GateOptions{},
			ratelimit.Rule{Policy: p, Key: byIP, PerRoute: true})
		for _, c := range []struct {
			path, pattern string
			status        int
		}{
			{"/reports/7", "GET /reports/{id}", 0},
			{"/reports/8", "GET /reports/{id}", 429},
			{"/reports/8", "GET /orders/{id}", 0},
			{"/nowhere", ratelimit.NoRoute, 0},
			{"/nowhere/else", ratelimit.NoRoute, 429},
			{"/reports/9", "", 500},
		} {
			t.Run(fmt.Sprintf("%s as %q", c.path, c.pattern), func(t *testing.T) {
				r := httptest.NewRequest("GET", c.path, nil)
				if v := gate.Check(r, c.pattern); v.Status != c.status {
					t.Errorf("%s as %q: got status %d (%v), want %d", c.path, c.pattern, v.Status, v.Err, c.status)
				}
			})
		}
		if !strings.Contains(log.String(), "rule 0: PerRoute") {
			t.Errorf("no pattern: got log %q", log.String())
		}
		wantLeft(t, limiter, p, ratelimit.Join("route", "GET /orders/{id}", ipKey), 0)
	})
}

// decided is an observer that collects decisions.
type decided struct {
	mu sync.Mutex
	ds []ratelimit.Decision
}

func (o *decided) Decided(_ context.Context, d ratelimit.Decision) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ds = append(o.ds, d)
}
func (*decided) Degraded(error) {}
func (*decided) Recovered()     {}

func TestGateDryRun(t *testing.T) {
	observer := &decided{}
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{Observer: observer})
	live, next := ratelimit.MustPolicy("live", ratelimit.PerHour(100)), ratelimit.MustPolicy("next", ratelimit.PerHour(1))
	one := newGate(t, limiter, ratelimit.GateOptions{},
		ratelimit.Rule{Policy: live, Key: byIP}, ratelimit.Rule{Policy: next, Key: byIP, DryRun: true})
	for range 3 {
		v := one.Check(apiRequest(), "")
		wantStatus(t, v, 0)
		if h := headers(v); h.Get("RateLimit-Policy") != `"live";q=100;w=3600` || strings.Contains(h.Get("RateLimit"), "next") {
			t.Errorf("got %v, want the live policy alone", h)
		}
	}
	denied := 0
	for _, d := range observer.ds {
		if !d.Allowed && d.Policy() == next {
			denied++
		}
	}
	if denied != 2 {
		t.Errorf("the observer heard of %d denials by the dry run, want 2", denied)
	}

	// No error in a dry run blocks a request.
	closed := ratelimit.MustPolicy("closed", ratelimit.PerHour(1)).OnFailure(ratelimit.FailClosed)
	away, err := ratelimit.New(kvtest.Open(t, redistest.NewClient(t, "127.0.0.1:1"), gatekit.Options{}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	for name, c := range map[string]struct {
		limiter *ratelimit.Limiter
		ctx     context.Context
		rule    ratelimit.Rule
	}{
		"key":     {limiter, context.Background(), ratelimit.Rule{Policy: closed, Key: func(*http.Request) (string, error) { return "", errors.New("x") }}},
		"cost":    {limiter, context.Background(), ratelimit.Rule{Policy: closed, Key: byIP, Cost: func(*http.Request) int64 { return 0 }}},
		"pattern": {limiter, context.Background(), ratelimit.Rule{Policy: closed, Key: byIP, PerRoute: true}},
		"Redis":   {away, context.Background(), ratelimit.Rule{Policy: closed, Key: byIP}},
		"context": {limiter, ended, ratelimit.Rule{Policy: closed, Key: byIP}},
	} {
		t.Run(name, func(t *testing.T) {
			all := newGate(t, c.limiter, ratelimit.GateOptions{DryRun: true, LegacyHeaders: true}, c.rule)
			v := all.Check(apiRequest().WithContext(c.ctx), "")
			if v.Status != 0 || v.Err != nil || len(headers(v)) != 0 {
				t.Errorf("got status %d, %v, %v, want a request that passes without a trace", v.Status, v.Err, headers(v))
			}
		})
	}
}

func TestGateKeyError(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	secret := errors.New("token s3cret is malformed")
	gate := newGate(t, limiter, ratelimit.GateOptions{},
		ratelimit.Rule{Policy: ratelimit.MustPolicy("p", ratelimit.PerHour(1)), Key: func(*http.Request) (string, error) { return "", secret }})
	v := gate.Check(apiRequest(), "")
	wantStatus(t, v, http.StatusBadRequest)
	if !errors.Is(v.Err, secret) {
		t.Errorf("Err: got %v, want the key's", v.Err)
	}
	if body := string(v.Body()); strings.Contains(body, "s3cret") || !strings.Contains(body, `"status":400`) {
		t.Errorf("got body %s", body)
	}
}

func TestGateWhenRedisIsAway(t *testing.T) {
	limiter, err := ratelimit.New(kvtest.Open(t, redistest.NewClient(t, "127.0.0.1:1"), gatekit.Options{}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	policy := ratelimit.MustPolicy("p", ratelimit.PerHour(1))
	rule := func(mode ratelimit.FailMode, header string) ratelimit.Rule { // local quotas are apart by header
		return ratelimit.Rule{Policy: policy.OnFailure(mode), Key: ratelimit.All(byIP, ratelimit.ByHeader(header))}
	}
	closed := ratelimit.Rule{Policy: ratelimit.MustPolicy("other", ratelimit.PerHour(1)).OnFailure(ratelimit.FailClosed), Key: byIP}
	for _, c := range []struct {
		mode     string
		rules    []ratelimit.Rule
		statuses []int
	}{
		{"open", []ratelimit.Rule{rule(ratelimit.FailOpen, "A")}, []int{0, 0}},
		{"closed", []ratelimit.Rule{rule(ratelimit.FailClosed, "A")}, []int{503, 503}},
		{"closed twice", []ratelimit.Rule{rule(ratelimit.FailClosed, "A"), closed}, []int{503, 503}},
		{"local", []ratelimit.Rule{rule(ratelimit.FailLocal, "A")}, []int{0, 429}},
		{"local, then closed", []ratelimit.Rule{rule(ratelimit.FailLocal, "B"), closed}, []int{503, 503}}, // gives back
		{"local used up, then closed", []ratelimit.Rule{rule(ratelimit.FailLocal, "A"), closed}, []int{429}},
		{"closed, then local used up", []ratelimit.Rule{closed, rule(ratelimit.FailLocal, "A")}, []int{429}},
	} {
		t.Run(c.mode, func(t *testing.T) {
			gate := newGate(t, limiter, ratelimit.GateOptions{}, c.rules...)
			for _, want := range c.statuses {
				r := apiRequest()
				for _, name := range []string{"A", "B", "C"} {
					r.Header.Set(name, "x")
				}
				v := gate.Check(r, "")
				h := headers(v)
				if v.Status != want || h.Get("RateLimit") != "" || !strings.Contains(h.Get("RateLimit-Policy"), `"p";q=1;w=3600`) {
					t.Errorf("got status %d and %v, want %d, the policy and no state", v.Status, h, want)
				}
				if blocked := want != 0; blocked != (h.Get("Retry-After") != "") || blocked != (h.Get("Cache-Control") == "no-store") {
					t.Errorf("status %d with %v", want, h)
				}
				if body := string(v.Body()); want == 503 && (!strings.Contains(body, "#temporary-reduced-capacity") || strings.Contains(body, "127.0.0.1")) {
					t.Errorf("got body %s", body)
				}
			}
		})
	}
}

// Redis remembers an admission under its call id. So a rule with a call id must spend
// only if the others let the request pass. If the gate gave the permits back, the client
// could repeat the id free of charge. If it kept them, a client that is denied by its
// address would use up the quota of an account.
func TestGateCallID(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		limiter := gateLimiter(t, s, ratelimit.Options{})
		account := ratelimit.MustPolicy("account", ratelimit.Limit{Quota: 3, Window: time.Hour, Algorithm: ratelimit.SlidingLog})
		perIP := ratelimit.MustPolicy("ip", ratelimit.PerHour(4))
		cost := int64(1)
		gate := newGate(t, limiter, ratelimit.GateOptions{},
			ratelimit.Rule{Policy: account, Key: byKey, Cost: func(*http.Request) int64 { return cost },
				CallID: func(r *http.Request) string { return r.Header.Get("Idempotency-Key") }},
			ratelimit.Rule{Policy: perIP, Key: byIP})
		send := func(id string) ratelimit.Verdict {
			r := apiRequest()
			r.Header.Set("Idempotency-Key", id)
			return gate.Check(r, "")
		}
		wantStatus(t, send("a"), 0)
		v := send("a")
		wantStatus(t, v, 0)
		if d := v.Decisions[0]; d.Policy() != account || !d.Repeated || !d.Spent {
			t.Errorf("repeated call: got decision %+v, want one of account, repeated", d)
		}
		wantLeft(t, limiter, account, apiKey, 2)

		cost = 2 // the same id at another cost is a mistake of the client, and leaves the other rules as they were
		wantStatus(t, send("a"), http.StatusBadRequest)
		cost = 1
		wantLeft(t, limiter, perIP, ipKey, 2)

		wantStatus(t, send("b"), 0)
		wantStatus(t, send("c"), 0)
		wantLeft(t, limiter, perIP, ipKey, 0)
		if err := limiter.Reset(context.Background(), account, apiKey); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"x", "y", "z", "x"} {
			v := send(id)
			wantStatus(t, v, 429)
			if got := string(v.Body()); !strings.Contains(got, `["ip"]`) || v.Decisions[0].Spent {
				t.Errorf("got body %s and %+v, want the rule by address alone", got, v.Decisions)
			}
		}
		wantLeft(t, limiter, account, apiKey, 3)

		// Denied by account, the address pays nothing.
		if err := limiter.Reset(context.Background(), perIP, ipKey); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"x", "y", "z"} {
			wantStatus(t, send(id), 0)
		}
		wantStatus(t, send("w"), 429)
		wantLeft(t, limiter, perIP, ipKey, 1)
		wantStatus(t, send(""), 429) // no id: decided together with the others
		wantLeft(t, limiter, perIP, ipKey, 1)
	})
}

// mortal is a context that ends when the test says so.
type mortal struct {
	context.Context
	over bool
}

func (m *mortal) Deadline() (time.Time, bool) { return time.Now().Add(-time.Second), m.over }

func (m *mortal) Err() error {
	if m.over {
		return context.DeadlineExceeded
	}
	return nil
}

// If a request's context ends between the decision and the refund, the API key must get
// its permits back all the same.
func TestGateRefundOutlivesTheRequest(t *testing.T) {
	client, hook := ringOf(t, redistest.Single(t).Nodes()[0].Addr()), &afterPipeline{}
	client.AddHook(hook)
	limiter, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	perIP, perKey := ratelimit.MustPolicy("ip", ratelimit.PerHour(1)), ratelimit.MustPolicy("key", ratelimit.PerHour(10))
	gate := newGate(t, limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: perIP, Key: byIP}, ratelimit.Rule{Policy: perKey, Key: byKey})
	wantStatus(t, gate.Check(apiRequest(), ""), 0)
	ctx := &mortal{Context: context.Background()}
	hook.do = func() { ctx.over = true } // by then all rules are decided
	wantStatus(t, gate.Check(apiRequest().WithContext(ctx), ""), 429)
	wantLeft(t, limiter, perKey, apiKey, 9)
}

// ringOf returns a ring of one server: the limiter takes the keys for ones of several
// servers, and does not decide them by one script.
func ringOf(t *testing.T, addr string) *redis.Ring {
	t.Helper()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"one": addr}, ContextTimeoutEnabled: true, HeartbeatFrequency: time.Hour})
	t.Cleanup(func() { ring.Close() })
	return ring
}

// afterPipeline does something after the next pipeline, once.
type afterPipeline struct{ do func() }

func (*afterPipeline) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*afterPipeline) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *afterPipeline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if do := h.do; do != nil {
			h.do = nil
			do()
		}
		return err
	}
}

// If Redis fails before the refund, the permits stay spent, and the decisions say so.
func TestGateRefundThatFails(t *testing.T) {
	s := redistest.Single(t)
	proxy := redistest.NewProxy(t, s.Nodes()[0].Addr())
	client, hook := ringOf(t, proxy.Addr()), &afterPipeline{}
	client.AddHook(hook)
	limiter, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	perIP, perKey := ratelimit.MustPolicy("ip", ratelimit.PerHour(1)), ratelimit.MustPolicy("key", ratelimit.PerHour(10))
	gate := newGate(t, limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: perIP, Key: byIP}, ratelimit.Rule{Policy: perKey, Key: byKey})
	wantStatus(t, gate.Check(apiRequest(), ""), 0)
	hook.do = func() { proxy.DropReply(1) } // the reply of the refund, which has run; the limiter cannot know that
	v := gate.Check(apiRequest(), "")
	wantStatus(t, v, 429)
	if got := headers(v).Get("RateLimit"); !strings.Contains(got, `"key";r=8;`) {
		t.Errorf("got RateLimit %s, want 8 left to the key, as if there had been no refund", got)
	}
}

// Two rules have call ids and one denies. One script spends nothing. On a cluster the
// gate keeps what the other one spent under the id; otherwise a repeat would pass that
// rule free of charge.
func TestGateTwoCallIDs(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		limiter := gateLimiter(t, s, ratelimit.Options{})
		left := int64(9)
		if s.Name() == "cluster" {
			left = 8
		}
		log := func(name string, quota int64) *ratelimit.Policy {
			return ratelimit.MustPolicy(name, ratelimit.Limit{Quota: quota, Window: time.Hour, Algorithm: ratelimit.SlidingLog})
		}
		wide, tight := log("wide", 10), log("tight", 1)
		id := func(r *http.Request) string { return r.Header.Get("Idempotency-Key") }
		gate := newGate(t, limiter, ratelimit.GateOptions{},
			ratelimit.Rule{Policy: wide, Key: byIP, CallID: id}, ratelimit.Rule{Policy: tight, Key: byIP, CallID: id})
		for i, want := range []int{0, 429, 429} {
			r := apiRequest()
			r.Header.Set("Idempotency-Key", []string{"a", "b", "b"}[i])
			wantStatus(t, gate.Check(r, ""), want)
		}
		wantLeft(t, limiter, wide, ipKey, left)
	})
}

func TestGateContext(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	var ps [5]*ratelimit.Policy
	for i := range ps {
		ps[i] = ratelimit.MustPolicy("p"+strconv.Itoa(i), ratelimit.PerHour(5))
	}
	rule := func(i int) ratelimit.Rule { return ratelimit.Rule{Policy: ps[i], Key: byIP} }
	outer := newGate(t, limiter, ratelimit.GateOptions{}, rule(0), rule(1), rule(2))
	left, right := newGate(t, limiter, ratelimit.GateOptions{}, rule(3)), newGate(t, limiter, ratelimit.GateOptions{}, rule(4))
	ctx := context.Background()
	if ds := ratelimit.FromContext(ctx); ds != nil {
		t.Errorf("no gate: got %v", ds)
	}
	through := func(gate *ratelimit.Gate, ctx context.Context) context.Context {
		r, err := gate.Admit(http.Header{}, apiRequest().WithContext(ctx), "")
		if err != nil {
			t.Fatal(err)
		}
		return r.Context()
	}
	one := through(outer, ctx)
	leftCtx := through(left, one)
	rightCtx := through(right, one) // must not write into the other's list
	for _, c := range []struct {
		ctx  context.Context
		want []*ratelimit.Policy
	}{{one, ps[:3]}, {leftCtx, ps[:4]}, {rightCtx, []*ratelimit.Policy{ps[0], ps[1], ps[2], ps[4]}}} {
		var got []*ratelimit.Policy
		for _, d := range ratelimit.FromContext(c.ctx) {
			got = append(got, d.Policy())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("got decisions by %v, want by %v", got, c.want)
		}
	}
	if _, err := limiter.RefundMany(ctx, ratelimit.FromContext(leftCtx)); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{5, 5, 5, 5, 4} {
		wantLeft(t, limiter, ps[i], ipKey, want)
	}
}

// The fields agree: Retry-After is not before the t of a limit that denied, nor before
// the request can pass.
func TestGateRetryAfterIsNotBeforeT(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		limiter := gateLimiter(t, s, ratelimit.Options{})
		p := ratelimit.MustPolicy("p", ratelimit.Per(6, 90*time.Second), ratelimit.PerMinute(5),
			ratelimit.Limit{Name: "buckets", Quota: 7, Window: 100 * time.Second, Algorithm: ratelimit.SlidingBuckets})
		cost := int64(1)
		gate := newGate(t, limiter, ratelimit.GateOptions{},
			ratelimit.Rule{Policy: p, Key: byIP, Cost: func(*http.Request) int64 { return cost }})
		denied := 0
		for i := range 12 {
			cost = int64(i%4) + 1
			v := gate.Check(apiRequest(), "")
			if v.Status == 0 {
				continue
			}
			denied++
			h := headers(v)
			retry, err := strconv.ParseInt(h.Get("Retry-After"), 10, 64)
			if err != nil || time.Duration(retry)*time.Second < v.RetryAfter {
				t.Errorf("Retry-After %q, %v: the request can pass after %v", h.Get("Retry-After"), err, v.RetryAfter)
			}
			items, err := httpsfv.UnmarshalList(h["Ratelimit"])
			if err != nil || len(items) != 3 {
				t.Fatalf("RateLimit %q: %v", h["Ratelimit"], err)
			}
			for n, s := range v.Decisions[0].Limits {
				reset, _ := items[n].(httpsfv.Item).Params.Get("t")
				if s.RetryAfter > 0 && (reset == nil || reset.(int64) > retry) {
					t.Errorf("cost %d: limit %s has t=%v, Retry-After is %d", cost, s.Name, reset, retry)
				}
			}
		}
		if denied < 6 {
			t.Fatalf("%d of 12 requests were denied, too few to tell", denied)
		}
	})
}

func TestGateRefuses(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	p := ratelimit.MustPolicy("p", ratelimit.Per(1, time.Hour))
	for _, c := range []struct {
		name, method string
		custom       bool
		body         string
	}{
		{"problem", "GET", false, `{"type":"https://iana.org/`},
		{"head", "HEAD", false, ""},
		{"custom", "GET", true, "slow down: 1 decisions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := ratelimit.GateOptions{}
			if c.custom {
				opts.ErrorHandler = func(w http.ResponseWriter, r *http.Request, refusal *gatekit.Refusal) {
					w.Header().Set("Content-Type", "text/plain")
					w.WriteHeader(refusal.Status)
					_, _ = fmt.Fprintf(w, "slow down: %d decisions", len(ratelimit.FromContext(r.Context())))
				}
			}
			gate := newGate(t, limiter, opts, ratelimit.Rule{Policy: p, Key: ratelimit.Everyone(), Cost: func(*http.Request) int64 { return 2 }})
			w := httptest.NewRecorder()
			r, err := gate.Admit(w.Header(), httptest.NewRequest(c.method, "/", nil), "")
			gate.Refuse(w, r, err)
			if body := w.Body.String(); w.Code != 429 || !strings.HasPrefix(body, c.body) || (c.body == "") != (body == "") {
				t.Errorf("%s: got %d %q, want 429 %q", c.name, w.Code, body, c.body)
			}
			if got := w.Header().Get("Content-Type"); !c.custom && got != "application/problem+json" || c.custom && got != "text/plain" {
				t.Errorf("%s: got Content-Type %q", c.name, got)
			}
			problem, _ := json.Marshal(err)
			if n := w.Header().Get("Content-Length"); !c.custom && n != strconv.Itoa(len(problem)+1) {
				t.Errorf("%s: got Content-Length %q, want %d", c.name, n, len(problem)+1)
			}
		})
	}
	w := httptest.NewRecorder()
	newGate(t, limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: p, Key: ratelimit.Everyone()}).
		Refuse(w, httptest.NewRequest("GET", "/", nil), errors.New("of another package"))
	if w.Code != 500 || strings.Contains(w.Body.String(), "package") {
		t.Errorf("an error of another package: got %d %q, want 500 and not its text", w.Code, w.Body)
	}
}
