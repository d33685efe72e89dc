package adaptertest

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// lists: clients whom a list refuses, exempts from all rules, and exempts from one.
func lists(t *testing.T, k kit, srv *redistest.Server) {
	byKey := ratelimit.ByHeader("X-Api-Key")
	list := func(client string) *ratelimit.List {
		l, err := ratelimit.NewList(ratelimit.ListOptions{Key: byKey}, ratelimit.ListEntries{Keys: []string{ratelimit.Join("header", "X-Api-Key", client)}})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	w := newWorld(t, k, srv.Client(t))
	page := func(rw http.ResponseWriter, _ *http.Request) error { return second(io.WriteString(rw, "page")) }
	opts := ratelimit.GateOptions{Deny: list("bad"), Allow: list("ours")}
	rule := ratelimit.Rule{Policy: hourly("pages", 2), Key: ratelimit.Everyone(), Allow: list("partner")}
	w.on("GET", "/page", page, k.rateLimit(w.limiter, opts, rule))
	own := opts
	own.ErrorHandler = func(rw http.ResponseWriter, r *http.Request, f *gatekit.Refusal) {
		rw.WriteHeader(f.Status)
		_, _ = fmt.Fprintf(rw, "own %d %v %d", f.Status, f.Err == ratelimit.ErrDenied, len(ratelimit.FromContext(r.Context())))
	}
	w.on("GET", "/own", page, k.rateLimit(w.limiter, own, rule))
	w.start()
	v := w.visitor()
	key := func(client string) []string { return []string{"X-Api-Key", client} }

	const detail = "Requests of this client are refused."
	problem := `{"type":"about:blank","title":"Forbidden","status":403,"detail":"` + detail + `"}` + "\n"
	for range 3 {
		v.do("GET", "/page", key("bad")...).wants(t, 403, problem).hasOnly(t, nil, "application/problem+json")
		v.do("GET", "/page", append(key("bad"), browser...)...).wants(t, 403, "Forbidden. "+detail+"\n").hasOnly(t, nil, "text/plain; charset=utf-8")
		v.do("GET", "/own", key("bad")...).wants(t, 403, "own 403 true 0").has(t, "Cache-Control", "no-store")
	}
	if n := w.ran.Load(); n != 0 {
		t.Errorf("%d handlers ran for a client that is denied", n)
	}
	w.wantLeft("pages", 2, 2)
	for _, client := range []string{"ours", "partner"} {
		for range 3 {
			v.do("GET", "/page", key(client)...).wants(t, 200, "page").has(t, "RateLimit", "").has(t, "RateLimit-Policy", "")
		}
	}
	w.wantLeft("pages", 2, 2)

	// The lists are replaced while the site runs.
	if err := opts.Deny.Replace(ratelimit.ListEntries{}); err != nil {
		t.Fatal(err)
	}
	v.do("GET", "/page", key("bad")...).wants(t, 200, "page").passed(t, "pages", 2, 1)
	v.do("GET", "/page").wants(t, 200, "page").passed(t, "pages", 2, 0)
	v.do("GET", "/page", key("bad")...).denied(t, "pages")
	v.do("GET", "/page", key("ours")...).wants(t, 200, "page")
}
