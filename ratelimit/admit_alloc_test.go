package ratelimit_test

import (
	"net/http"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// TestAdmitAllocations bounds the allocations of a denial, because an attacker can cause
// many denials.
func TestAdmitAllocations(t *testing.T) {
	limiter := gateLimiter(t, redistest.Single(t), ratelimit.Options{})
	p := ratelimit.MustPolicy("p", ratelimit.PerHour(4000))
	for _, c := range []struct {
		name string
		cost int64
		most float64
	}{
		{"denied", 4001, 6}, // without asking Redis
		{"admitted", 1, 19},
	} {
		gate := newGate(t, limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: p, Key: byIP, Cost: func(*http.Request) int64 { return c.cost }})
		r, h := apiRequest(), http.Header{}
		n := testing.AllocsPerRun(200, func() {
			clear(h)
			if _, err := gate.Admit(h, r, ""); (err != nil) != (c.name == "denied") {
				t.Fatal(err)
			}
		})
		t.Logf("%s: %v allocations", c.name, n)
		if n > c.most {
			t.Errorf("%s: %v allocations, want at most %v", c.name, n, c.most)
		}
	}
}
