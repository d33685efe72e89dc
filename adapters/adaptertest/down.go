package adaptertest

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// breakable returns a world and a proxy that can cut it off from its Redis.
func breakable(t *testing.T, k kit, srv *redistest.Server, change ...func(*settings)) (*world, *redistest.Proxy) {
	t.Helper()
	proxy := redistest.NewProxy(t, srv.Addrs()[0])
	return newWorld(t, k, through(t, proxy), change...), proxy
}

// through returns a client that gives up at once and dials again at once. By default
// go-redis stops dialing for a second after as many failed dials as its pool has
// connections.
func through(t *testing.T, proxy *redistest.Proxy) redis.UniversalClient {
	t.Helper()
	return redistest.NewClient(t, proxy.Addr(), func(o *redis.UniversalOptions) { o.MaxRetries, o.PoolSize = -1, 4096 })
}

// unavailable checks the answer to a request whose session could not be read or saved.
func (a answer) unavailable(t testing.TB) {
	t.Helper()
	a.wants(t, 503, "*").cookies(t, 0).has(t, "Retry-After", "1").has(t, "Cache-Control", "no-store").has(t, "Location", "")
}

// unreadable: Redis is gone when the handler, or a guard, asks for the session.
func unreadable(t *testing.T, k kit, srv *redistest.Server) {
	w, proxy := breakable(t, k, srv)
	ran := func(http.ResponseWriter, *http.Request) error {
		t.Error("a handler ran behind a guard that can't know")
		return nil
	}
	w.on("GET", "/page", ran, k.requireLogin(w.m, "/enter"))
	w.on("GET", "/api", ran, k.requireLogin(w.m, ""))
	w.on("GET", "/fresh", ran, k.requireFresh(w.m, time.Hour, "/again"))
	w.mount("GET", "/devices", k.devices(w.m))
	w.mount("POST", "/logout", k.logout(w.m, "/bye"))
	w.mount("POST", "/everywhere", k.everywhere(w.m, "/bye"))
	w.on("GET", "/plain", func(rw http.ResponseWriter, _ *http.Request) error { return second(io.WriteString(rw, "body")) })
	w.start()
	v := w.member()
	was := v.cookie()
	proxy.Refuse(true)
	for _, c := range [][2]string{
		{"GET", "/value"}, {"HEAD", "/value"}, {"GET", "/page"}, {"GET", "/api"}, {"GET", "/fresh"}, {"GET", "/devices"},
		{"POST", "/logout"}, {"POST", "/everywhere"}, {"POST", "/login"}, {"POST", "/set?color=red"},
	} {
		v.do(c[0], c[1]).unavailable(t)
	}
	v.do("GET", "/plain").wants(t, 200, "body").cookies(t, 0) // asks for no session
	w.visitor().do("GET", "/api").wants(t, 401, "*")          // has no cookie: Redis is not needed
	proxy.Refuse(false)
	if v.cookie() != was {
		t.Errorf("the cookie changed from %s to %s", was, v.cookie())
	}
	v.sees(t, "alice", "blue")
}

// unsaved: Redis goes away after the session was read and before it is saved, for every
// way to begin the response.
func unsaved(t *testing.T, k kit, srv *redistest.Server) {
	w, proxy := breakable(t, k, srv)
	for i, way := range ways {
		w.on("GET", "/way/"+strconv.Itoa(i), func(rw http.ResponseWriter, r *http.Request) error {
			if err := Mark(session.From(r.Context())); err != nil {
				return err
			}
			proxy.Refuse(true)
			err := way.respond(rw, r)
			if strings.HasPrefix(way.name, "Write") && way.body != "" && err == nil {
				t.Errorf("%s: the handler was not told that its response is not sent", way.name)
			}
			return err
		})
	}
	w.start()
	for i, way := range ways {
		if way.status >= 500 {
			continue // saves nothing
		}
		w.part(way.name, func(t *testing.T) {
			for user, v := range map[string]*visitor{"": w.regular(), "alice": w.member()} {
				was := v.cookie()
				a := v.do("GET", "/way/"+strconv.Itoa(i))
				a.unavailable(t)
				if strings.Contains(a.body, "body") || strings.Contains(a.body, "0123") {
					t.Errorf("the handler's body went out: %.40q", a.body)
				}
				proxy.Refuse(false)
				v.sees(t, user, "blue")
				if v.cookie() != was {
					t.Errorf("the cookie changed from %s to %s", was, v.cookie())
				}
			}
			guest := w.visitor()
			guest.do("GET", "/way/"+strconv.Itoa(i)).unavailable(t)
			proxy.Refuse(false)
			guest.sees(t, "", "")
		})
	}
}

// silent: Redis takes commands and does not answer. The manager under test waits only a
// moment. Another one, which waits longer, prepares the session.
func silent(t *testing.T, k kit, srv *redistest.Server) {
	patient, proxy := breakable(t, k, srv)
	patient.start()
	w := newWorld(t, k, through(t, proxy), func(c *settings) { c.Prefix, c.Budget = patient.prefix, 50*time.Millisecond })
	w.on("GET", "/page", failing(200), k.requireLogin(w.m, "/enter"))
	w.start()
	v := patient.member()
	proxy.BlackHole(true)
	hasty := w.visitor()
	hasty.client.Jar = v.client.Jar // cookies don't tell ports apart
	hasty.do("GET", "/page").unavailable(t)
	hasty.do("POST", "/set?color=red").unavailable(t)
	proxy.BlackHole(false)
	v.sees(t, "alice", "blue")
}

// limitsDown: limits whose Redis is gone, with each fail mode.
func limitsDown(t *testing.T, k kit, srv *redistest.Server) {
	w, proxy := breakable(t, k, srv)
	rule := func(name string, mode ratelimit.FailMode) layer {
		return k.rateLimit(w.limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: hourly(name, 1000).OnFailure(mode), Key: ratelimit.Everyone()})
	}
	page := func(rw http.ResponseWriter, _ *http.Request) error { return second(io.WriteString(rw, "body")) }
	w.on("GET", "/closed", page, rule("closed", ratelimit.FailClosed))
	w.on("GET", "/open", page, rule("open", ratelimit.FailOpen))
	w.start()
	v := w.visitor()
	// until repeats a request: after an outage the limiter asks Redis nothing for a
	// moment.
	until := func(path string, status int) answer {
		t.Helper()
		a := answer{}
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if a = v.do("GET", path); a.status == status {
				return a
			}
		}
		t.Fatalf("%s: got %d for 20 s, want %d", path, a.status, status)
		return a
	}
	until("/closed", 200)
	proxy.Refuse(true)
	a := until("/closed", 503).has(t, "Cache-Control", "no-store").cookies(t, 0)
	if a.header.Get("Retry-After") == "" || strings.Contains(a.body, "body") || !strings.Contains(a.body, "reduced-capacity") {
		t.Errorf("closed: got %q with %v", a.body, a.header)
	}
	v.do("GET", "/open").wants(t, 200, "body").has(t, "RateLimit", "").has(t, "RateLimit-Policy", `"open";q=1000;w=3600`)
	proxy.Refuse(false)
	if until("/closed", 200).header.Get("RateLimit") == "" {
		t.Error("Redis is back, and the RateLimit field is not")
	}
}
