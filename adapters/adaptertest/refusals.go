package adaptertest

import (
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
)

// browser holds the header fields of a browser that loads a page.
var browser = []string{"Accept", "text/html,*/*;q=0.8"}

// page sends a request as a browser does.
func (v *visitor) page(method, path string) answer {
	v.w.t.Helper()
	return v.do(method, path, browser...)
}

// refusing mounts guards and limits that refuse requests on a world's site.
func refusing(w *world, opts ratelimit.GateOptions) {
	fails := func(err error) Handler {
		return func(http.ResponseWriter, *http.Request) error { return err }
	}
	never := fails(nil)
	costly := ratelimit.Rule{Policy: hourly("costly", 1), Key: ratelimit.Everyone(), Cost: func(*http.Request) int64 { return 2 }}
	w.on("GET", "/private", never, w.kit.requireLogin(w.m, ""))
	w.on("GET", "/stale", never, w.kit.requireFresh(w.m, time.Nanosecond, ""))
	w.on("POST", "/cross", never, w.kit.crossOrigin(nil))
	w.mount("GET", "/logout", w.kit.logout(w.m, "/"))
	w.on("GET", "/gone", fails(session.ErrConflict))
	w.on("GET", "/down", fails(fmt.Errorf("a handler: %w", session.ErrUnavailable)))
	w.on("GET", "/limit", never, w.kit.rateLimit(w.limiter, opts, costly))
}

// refusals: the answers to refused requests, field by field.
func refusals(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	refusing(w, ratelimit.GateOptions{})
	w.start()
	guest, member := w.visitor(), w.member()
	time.Sleep(2 * time.Millisecond)
	const quota = "https://iana.org/assignments/http-problem-types#quota-exceeded"
	limit := map[string]string{"Ratelimit-Policy": `"costly";q=1;w=3600`}
	for _, c := range []struct {
		who                         *visitor
		method, path                string
		status                      int
		typ, title, detail, members string
		fields                      map[string]string
	}{
		{guest, "GET", "/private", 401, "about:blank", "Unauthorized", "Log in first.", "",
			map[string]string{"Www-Authenticate": "Session", "Vary": "Cookie"}},
		{member, "GET", "/stale", 403, "about:blank", "Forbidden", "Prove once more who you are.", "",
			map[string]string{"Vary": "Cookie"}},
		{guest, "POST", "/cross", 403, "about:blank", "Forbidden", "Another site made the browser send the request.", "", nil},
		{guest, "GET", "/logout", 405, "about:blank", "Method Not Allowed", "", "", map[string]string{"Allow": "POST"}},
		{guest, "GET", "/gone", 409, "about:blank", "Conflict", "", "", nil},
		{guest, "GET", "/limit", 429, quota, "Quota Exceeded",
			"The request asks for more than a quota allows. Waiting does not help.", `,"violated-policies":["costly"]`, limit},
		{guest, "GET", "/down", 503, "about:blank", "Service Unavailable",
			"The session cannot be read or saved at the moment. Try again later.", "", map[string]string{"Retry-After": "1"}},
	} {
		detail, line := "", http.StatusText(c.status)
		if c.detail != "" {
			detail, line = fmt.Sprintf(`,"detail":%q`, c.detail), line+". "+c.detail
		}
		problem := fmt.Sprintf(`{"type":%q,"title":%q,"status":%d%s%s}`, c.typ, c.title, c.status, detail, c.members)
		ran := w.ran.Load()
		cross := []string{"Sec-Fetch-Site", "cross-site"}
		a := c.who.do(c.method, c.path, cross...).wants(t, c.status, problem+"\n")
		a.hasOnly(t, c.fields, "application/problem+json")
		a = c.who.do(c.method, c.path, append(cross, browser...)...).wants(t, c.status, line+"\n")
		a.hasOnly(t, c.fields, "text/plain; charset=utf-8")
		if w.ran.Load() > ran && c.path != "/gone" && c.path != "/down" {
			t.Errorf("%s: the handler ran", a.what)
		}
	}
}

// hasOnly checks all header fields of a refusal.
func (a answer) hasOnly(t testing.TB, fields map[string]string, mediaType string) {
	t.Helper()
	want := map[string]string{"Cache-Control": "no-store", "Content-Type": mediaType, "X-Content-Type-Options": "nosniff",
		"Content-Length": fmt.Sprint(len(a.body))}
	maps.Copy(want, fields)
	got := map[string]string{}
	for name := range a.header {
		if name != "Date" {
			got[name] = a.header.Get(name)
		}
		if n := len(a.header[name]); n > 1 {
			t.Errorf("%s: %d lines of %s", a.what, n, name)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: got the fields\n %v, want\n %v", a.what, got, want)
	}
}

// challenges: the WWW-Authenticate of each 401.
func challenges(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t), func(s *settings) { s.sessionOptions.Bearer = true })
	w.on("GET", "/private", func(http.ResponseWriter, *http.Request) error { return nil }, k.requireLogin(w.m, ""))
	w.on("GET", "/ended", func(http.ResponseWriter, *http.Request) error { return session.ErrStaleLogin })
	w.start()
	v := w.visitor()
	v.do("GET", "/private").wants(t, 401, "*").has(t, "WWW-Authenticate", "Bearer")
	v.do("GET", "/ended").wants(t, 401, "*").has(t, "WWW-Authenticate", "Bearer")
	v.do("GET", "/private", "Authorization", "Bearer junk").wants(t, 401, "*").has(t, "WWW-Authenticate", `Bearer error="invalid_token"`)
}

// ownHandler: a program that answers all refusals by one function of its own.
func ownHandler(t *testing.T, k kit, srv *redistest.Server) {
	own := func(rw http.ResponseWriter, r *http.Request, f *gatekit.Refusal) {
		rw.Header().Set("Content-Type", "text/own")
		rw.WriteHeader(f.Status)
		_, _ = fmt.Fprintf(rw, "own %d %q %d", f.Status, f.Violated, len(ratelimit.FromContext(r.Context())))
	}
	w := newWorld(t, k, srv.Client(t), func(s *settings) { s.sessionOptions.ErrorHandler = own })
	refusing(w, ratelimit.GateOptions{ErrorHandler: own})
	w.on("GET", "/led", func(http.ResponseWriter, *http.Request) error { return nil }, k.requireLogin(w.m, "/enter"))
	w.start()
	v := w.visitor()
	for _, c := range []struct{ path, body, field, value string }{
		{"/private", "own 401 [] 0", "Www-Authenticate", "Session"},
		{"/logout", "own 405 [] 0", "Allow", "POST"},
		{"/gone", "own 409 [] 0", "", ""},
		{"/limit", `own 429 ["costly"] 1`, "Ratelimit-Policy", `"costly";q=1;w=3600`},
		{"/down", "own 503 [] 0", "Retry-After", "1"},
	} {
		var status int
		_, _ = fmt.Sscanf(c.body, "own %d", &status)
		v.do("GET", c.path).wants(t, status, c.body).has(t, "Content-Type", "text/own").has(t, "Cache-Control", "no-store").
			has(t, c.field, c.value)
	}
	v.page("GET", "/led").wants(t, 303, "*").has(t, "Location", "/enter?next=%2Fled") // a redirect is no error
}
