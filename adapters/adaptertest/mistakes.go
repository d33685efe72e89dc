package adaptertest

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// mistakes: mistakes of the program that only requests show, such as a request without
// the key that a rule requires, and a limit that is mounted twice.
func mistakes(t *testing.T, k kit, srv *redistest.Server) {
	client := srv.Client(t)
	w := newWorld(t, k, client)
	kv := kvtest.Open(t, client, gatekit.Options{Prefix: w.prefix, Budget: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(w, nil))})
	var err error
	if w.limiter, err = ratelimit.New(kv, ratelimit.Options{}); err != nil {
		t.Fatal(err)
	}
	ok := failing(200)
	rule := ratelimit.Rule{Policy: hourly("required", 2), Key: ratelimit.ByHeader("X-Key"), Required: true}
	w.on("GET", "/required", ok, k.rateLimit(w.limiter, ratelimit.GateOptions{}, rule))
	rule.Policy, rule.Required = hourly("optional", 2), false
	w.on("GET", "/optional", ok, k.rateLimit(w.limiter, ratelimit.GateOptions{}, rule))
	twice := w.limit("twice", 99)
	w.on("GET", "/twice", ok, twice, twice)
	w.start()
	v := w.visitor()
	v.do("GET", "/required").wants(t, 400, "*")
	v.do("GET", "/optional").wants(t, 200, "page\n")
	v.do("GET", "/required", "X-Key", "a").wants(t, 200, "page\n")
	if n := w.ran.Load(); n != 2 {
		t.Errorf("%d handlers ran, want 2: a request without its key must not reach one", n)
	}
	for range 3 {
		v.do("GET", "/twice").wants(t, 200, "page\n")
	}
	w.settled()
	w.mu.Lock()
	defer w.mu.Unlock()
	if text := w.log.String(); strings.Count(text, "charged twice in one request") != 1 || !strings.Contains(text, "policy=twice") {
		t.Errorf("a limit that is mounted twice: want one line that names its policy: %s", text)
	}
}
