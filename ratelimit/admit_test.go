package ratelimit_test

import (
	"errors"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

func TestAdmit(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	rule := ratelimit.Rule{Policy: ratelimit.MustPolicy("once", ratelimit.PerHour(1)), Key: byIP}
	rule.Skip = func(r *http.Request) bool { return r.URL.Query().Has("skip") }
	gate := newGate(t, limiter, ratelimit.GateOptions{}, rule)

	r, h := apiRequest(), http.Header{}
	passed, err := gate.Admit(h, r, "")
	if err != nil || len(ratelimit.FromContext(passed.Context())) != 1 || h.Get("RateLimit") != `"once";r=0;t=3600` {
		t.Errorf("got %v with %v, want a request with its decision", err, h)
	}
	h = http.Header{}
	denied, err := gate.Admit(h, r, "")
	var refusal *gatekit.Refusal
	if !errors.As(err, &refusal) || h.Get("Retry-After") == "" {
		t.Fatalf("got %v with %v, want a refusal", err, h)
	}
	if ds := ratelimit.FromContext(denied.Context()); len(ds) != 1 || ds[0].Allowed || refusal.Violated[0] != "once" {
		t.Errorf("got %v of %v, want a request with the decision that denied it", ds, refusal)
	}
	if retry := strconv.Itoa(int(refusal.RetryAfter / time.Second)); h.Get("Retry-After") != retry {
		t.Errorf("got Retry-After %q, want the refusal's %v", h.Get("Retry-After"), refusal.RetryAfter)
	}
	if passed, err = gate.Admit(http.Header{}, passed, ""); err == nil || len(ratelimit.FromContext(passed.Context())) != 2 {
		t.Errorf("behind another gate: got %v with %d decisions, want both", err, len(ratelimit.FromContext(passed.Context())))
	}
	r.URL.RawQuery, h = "skip", http.Header{}
	if passed, err = gate.Admit(h, r, ""); err != nil || passed != r || len(h) != 0 {
		t.Errorf("skipped: got %v with %v, want the request as it came", err, h)
	}
}

// TestAdmitReturnsNoNilRefusal: if Admit returned a nil *Refusal as an error, that error
// would not be nil, and no request would pass.
func TestAdmitReturnsNoNilRefusal(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	gate := newGate(t, limiter, ratelimit.GateOptions{}, ratelimit.Rule{
		Policy: ratelimit.MustPolicy("hour", ratelimit.PerHour(1)), Key: byIP})
	check := func() error { return second(gate.Admit(http.Header{}, apiRequest(), "")) }
	if err := check(); err != nil {
		t.Errorf("a request that passes has the error %#v", err)
	}
	if err := check(); !errors.As(err, new(*gatekit.Refusal)) {
		t.Errorf("a request that is denied has the error %v, want a *Refusal", err)
	}
}

func second[T any](_ T, err error) error { return err }
