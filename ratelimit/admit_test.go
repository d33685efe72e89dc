package ratelimit_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/gatekit/gatekit/lua/luatest"
	"github.com/gatekit/gatekit/ratelimit"
)

func TestAdmit(t *testing.T) {
	limiter := gateLimiter(t, luatest.Embedded(t), ratelimit.Options{})
	rule := ratelimit.Rule{Policy: ratelimit.MustPolicy("once", ratelimit.PerHour(1)), Key: byIP}
	rule.Skip = func(r *http.Request) bool { return r.URL.Query().Has("skip") }
	gate := newGate(t, limiter, ratelimit.GateOptions{}, rule)

	r, h := apiRequest(), http.Header{}
	passed, refusal := gate.Admit(h, r, "")
	if refusal != nil || len(ratelimit.FromContext(passed.Context())) != 1 || h.Get("RateLimit") != `"once";r=0;t=3600` {
		t.Errorf("got %v with %v, want a request with its decision", refusal, h)
	}
	h = http.Header{}
	if _, refusal = gate.Admit(h, r, ""); refusal == nil || h.Get("Retry-After") == "" {
		t.Fatalf("got %v with %v, want a refusal", refusal, h)
	}
	if b, err := json.Marshal(refusal); err != nil || string(b)+"\n" != string(refusal.Verdict.Body()) {
		t.Errorf("as JSON it is %s, %v, want %s", b, err, refusal.Verdict.Body())
	}
	r.URL.RawQuery, h = "skip", http.Header{}
	if passed, refusal = gate.Admit(h, r, ""); refusal != nil || passed != r || len(h) != 0 {
		t.Errorf("skipped: got %v with %v, want the request as it came", refusal, h)
	}
}
