package ratelimit_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// A KeyFunc for a key that no request can have panics when it is made. Otherwise the
// program would find out only when nothing was ever limited.
func TestKeysThatNeverApplyAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		make func()
		want string
	}{
		{"no name", func() { ratelimit.ByHeader("") }, `ByHeader("")`},
		{"spaces", func() { ratelimit.ByHeader("X Api Key") }, `ByHeader("X Api Key")`},
		{"Host", func() { ratelimit.ByHeader("host") }, "r.Host"},
		{"Transfer-Encoding", func() { ratelimit.ByHeader("Transfer-Encoding") }, "r.TransferEncoding"},
		{"Trailer", func() { ratelimit.ByHeader("trailer") }, "r.Trailer"},
		{"no user", func() { ratelimit.ByUser(nil) }, "ByUser(nil)"},
		{"no keys", func() { ratelimit.All() }, "All()"},
		{"a nil key", func() { ratelimit.All(ratelimit.Everyone(), nil) }, "KeyFunc 1 is nil"},
	} {
		t.Run(c.name, func(t *testing.T) {
			func() {
				defer func() {
					if got := fmt.Sprint(recover()); !strings.Contains(got, c.want) {
						t.Errorf("panics with %s, want %q in it", got, c.want)
					}
				}()
				c.make()
			}()
		})
	}
}

func TestRequiredRule(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	p := ratelimit.MustPolicy("p", ratelimit.PerHour(9))
	misspelt := func(*http.Request) *ratelimit.Policy { return nil }
	for _, c := range []struct {
		name string
		rule ratelimit.Rule
		want int
	}{
		{"no key", ratelimit.Rule{Policy: p, Key: ratelimit.ByHeader("X-None")}, 0},
		{"no key, required", ratelimit.Rule{Policy: p, Key: ratelimit.ByHeader("X-None"), Required: true}, 400},
		{"no policy", ratelimit.Rule{PolicyFunc: misspelt, Key: byIP}, 0},
		{"no policy, required", ratelimit.Rule{PolicyFunc: misspelt, Key: byIP, Required: true}, 500},
		{"both there", ratelimit.Rule{Policy: p, Key: byIP, Required: true}, 0},
		{"skipped", ratelimit.Rule{Policy: p, Key: ratelimit.ByHeader("X-None"), Required: true, Skip: func(*http.Request) bool { return true }}, 0},
		{"dry run", ratelimit.Rule{Policy: p, Key: ratelimit.ByHeader("X-None"), Required: true, DryRun: true}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if v := newGate(t, limiter, ratelimit.GateOptions{}, c.rule).Check(apiRequest(), ""); v.Status != c.want {
				t.Errorf("status %d (%v), want %d", v.Status, v.Err, c.want)
			}
		})
	}
}

// The cost is the length of the body: a GET costs nothing, and an unknown length costs
// the rule's MaxCost.
func TestCostOfZeroAndOfUnknown(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		limiter := gateLimiter(t, s, ratelimit.Options{})
		bytes, other := ratelimit.MustPolicy("bytes", ratelimit.PerHour(100)), ratelimit.MustPolicy("other", ratelimit.PerHour(3))
		rules := []ratelimit.Rule{
			{Policy: bytes, Key: byIP, Cost: func(r *http.Request) int64 { return r.ContentLength }, MaxCost: 60},
			{Policy: other, Key: byKey},
		}
		gate := newGate(t, limiter, ratelimit.GateOptions{}, rules...)
		send := func(length int64, want int, left, leftOther int64) {
			t.Helper()
			r := apiRequest()
			r.ContentLength = length
			v := gate.Check(r, "")
			if v.Status != want {
				t.Errorf("length %d: status %d (%v), want %d", length, v.Status, v.Err, want)
			}
			wantLeft(t, limiter, bytes, ipKey, left)
			wantLeft(t, limiter, other, apiKey, leftOther)
		}
		send(0, 0, 100, 2)
		send(-1, 0, 40, 1)
		send(-1, 429, 40, 1) // what the other rule spent is given back
		send(40, 0, 0, 0)
		send(0, 429, 0, 0) // no permit is free
		// A request of cost 0 spent nothing, so there is nothing to give back.
		spare := ratelimit.MustPolicy("spare", ratelimit.PerHour(9))
		looks := newGate(t, limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: spare, Key: byIP}, rules[1],
			ratelimit.Rule{Policy: ratelimit.MustPolicy("free", ratelimit.PerHour(9)), Key: byIP, Cost: func(*http.Request) int64 { return 0 }, DryRun: true})
		if v := looks.Check(apiRequest(), ""); v.Status != 429 || len(v.Decisions) != 3 || v.Decisions[0].Remaining != 9 || v.Decisions[2].Spent || v.Decisions[2].GivenBack {
			t.Errorf("a denial beside a look: status %d, %d decisions, %+v", v.Status, len(v.Decisions), v.Decisions)
		}
		lone := newGate(t, limiter, ratelimit.GateOptions{}, rules[0])
		if v := lone.Check(apiRequest(), ""); v.Status != 429 {
			t.Errorf("a single rule, cost 0, nothing left: status %d", v.Status)
		}
		rules[0].MaxCost = 0
		r := apiRequest()
		r.ContentLength = -1
		if v := newGate(t, limiter, ratelimit.GateOptions{}, rules[0]).Check(r, ""); v.Status != 500 {
			t.Errorf("unknown cost without MaxCost: status %d, want 500", v.Status)
		}
	})
}

// Mistakes that no constructor can see are logged once, at the first request that shows
// them.
func TestMistakesAreLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	limiter := loggingLimiter(t, redistest.Embedded(t), ratelimit.Options{}, &log)
	p := ratelimit.MustPolicy("p", ratelimit.PerHour(900))
	opts := ratelimit.GateOptions{}
	idle := newGate(t, limiter, opts, ratelimit.Rule{Policy: p, Key: ratelimit.ByHeader("X-Misspelt")})
	for i := range 3000 {
		idle.Check(apiRequest(), "")
		if lines := strings.Count(log.String(), "no rule of a gate applied"); lines != min((i+1)/1000, 1) {
			t.Fatalf("after %d requests to which no rule applied: %d lines", i+1, lines)
		}
	}
	log.Reset()
	gate := newGate(t, limiter, opts, ratelimit.Rule{Policy: p, Key: byIP})
	for range 3 {
		r, err := gate.Admit(http.Header{}, apiRequest(), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := gate.Admit(http.Header{}, r, ""); err != nil {
			t.Fatal(err)
		}
	}
	if lines := strings.Count(log.String(), "charged twice in one request"); lines != 1 {
		t.Errorf("a gate that is mounted twice: %d lines, want 1: %s", lines, &log)
	}
}

// An observer that counts admitted requests can see which decisions are spent, and which
// are of a dry run.
func TestObserverTellsSpentAndDryRuns(t *testing.T) {
	seen := &decided{}
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{Observer: seen})
	perIP, perKey, dry := ratelimit.MustPolicy("ip", ratelimit.PerHour(1)), ratelimit.MustPolicy("key", ratelimit.PerHour(1000)), ratelimit.MustPolicy("dry", ratelimit.PerHour(10))
	gate := newGate(t, limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: perIP, Key: byIP}, ratelimit.Rule{Policy: perKey, Key: byKey},
		ratelimit.Rule{Policy: dry, Key: byKey, DryRun: true})
	passed := 0
	for range 100 {
		if gate.Check(apiRequest(), "").Status == 0 {
			passed++
		}
	}
	counts := map[string]int{}
	for _, d := range seen.ds {
		if d.DryRun != (d.Policy() == dry) {
			t.Fatalf("policy %s: DryRun is %v", d.Policy().Name(), d.DryRun)
		}
		if d.Spent {
			counts[d.Policy().Name()]++
		}
	}
	if passed != 1 || counts["ip"] != 1 || counts["key"] != 1 || len(seen.ds) != 300 {
		t.Errorf("%d of 100 passed; the observer was told %d decisions and counts %v let through; want 1, 300, 1 by ip and key", passed, len(seen.ds), counts)
	}
}
