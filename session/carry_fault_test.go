package session_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// proxied returns a site whose manager and old kit are behind proxies.
func proxied(t *testing.T) (o *oldSite, ours, old *redistest.Proxy) {
	t.Helper()
	addr := redistest.NewSingle(t).Nodes()[0].Addr()
	ours, old = redistest.NewProxy(t, addr), redistest.NewProxy(t, addr)
	o = newOldSiteOn(t, redistest.NewClient(t, ours.Addr()), redistest.NewClient(t, addr), redistest.Prefix(t), func(c *settings) {
		c.LegacyClient = redistest.NewClient(t, old.Addr())
		c.Budget = time.Second
	})
	return o, ours, old
}

func TestCommandsWithOldSessions(t *testing.T) {
	t.Parallel()
	o, proxy, oldProxy := proxied(t)
	warm, _ := o.visitor(oldSession{User: "warm"}, time.Hour)
	want(t, warm.Do("POST", "/add"), 200, "") // all scripts are loaded
	ignores := browsertest.Middleware(o.m, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	b, id := o.visitor(oldSession{User: "alice"}, time.Hour)
	gone, _ := o.visitor(oldSession{User: "bob"}, time.Hour)
	out := gone.Clone()
	want(t, gone.Do("POST", "/logout"), 200, "")
	for _, c := range []struct {
		name      string
		do        func() *http.Response
		ours, old int64
		cookies   int
	}{
		{"no cookie", func() *http.Response { return o.browser().Do("GET", "/who") }, 0, 0, 0},
		{"session not asked for", func() *http.Response { return browsertest.NewBrowser(ignores).Send(b.Request("GET", "/", nil)) }, 0, 0, 0},
		{"malformed old cookie", func() *http.Response { return o.bring("x").Do("GET", "/who") }, 0, 0, 0},
		{"old cookie of nobody", func() *http.Response { return o.bring(strings.Repeat("x", 32)).Do("GET", "/who") }, 0, 2, 0},
		{"carried over", func() *http.Response { return b.Do("GET", "/who") }, 2, 2, 1},
		{"our cookie beside the old one", func() *http.Response { return b.Do("GET", "/who") }, 1, 0, 0},
		{"our cookie, a write", func() *http.Response { return b.Do("POST", "/add") }, 2, 0, 0},
		{"the old cookie again", func() *http.Response { return o.bring(id).Do("GET", "/who") }, 2, 2, 1},
		{"the old cookie of an ended session", func() *http.Response { return out.Do("GET", "/who") }, 1, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var resp *http.Response
			var names, oldNames string
			var n, oldN int64
			oldN = -1
			n, names = asked(proxy, func() {
				during := oldProxy.During(func() { resp = c.do() }).Commands
				oldN = during["get"] + during["pttl"]
				for name := range during {
					oldNames += " " + name
				}
			})
			if n != c.ours || oldN != c.old {
				t.Errorf("%d and %d commands, want %d and %d:%s,%s", n, oldN, c.ours, c.old, names, oldNames)
			}
			if got := len(resp.Cookies()); got != c.cookies {
				t.Errorf("%d cookies, want %d", got, c.cookies)
			}
		})
	}
}

func TestStoreDownIsNoGuest(t *testing.T) {
	t.Parallel()
	o, ours, old := proxied(t)
	b, id := o.visitor(oldSession{User: "alice"}, time.Hour)
	// The same program with a short budget, since no answer comes in any case.
	hurried := newSiteOn(t, o.client, o.prefix, func(c *settings) {
		c.Legacy, c.LegacyClient, c.Budget = o.kit, redistest.NewClient(t, old.Addr()), 20*time.Millisecond
	})
	for name, proxy := range map[string]*redistest.Proxy{"ours": ours, "old": old} {
		proxy.BlackHole(true)
		for _, path := range []string{"/who", "/logout", "/set?k=color&v=red", "/login?user=bob"} {
			t.Run(path, func(t *testing.T) {
				resp := hurried.browserLike(b).Do("POST", path)
				if resp.StatusCode != 503 || len(resp.Header["Set-Cookie"]) != 0 {
					t.Errorf("%s down, %s: %d, cookies %q, want 503", name, path, resp.StatusCode, resp.Header["Set-Cookie"])
				}
			})
		}
		proxy.BlackHole(false)
	}
	if n := len(o.keys("s")); n != 0 {
		t.Errorf("%d sessions were made meanwhile", n)
	}
	want(t, b.Do("GET", "/who"), 200, "alice")

	// Our cookie does not need the old kit's Redis.
	old.BlackHole(true)
	want(t, b.Do("GET", "/who"), 200, "alice")
	if resp := hurried.browserLike(o.bring(id)).Do("GET", "/who"); resp.StatusCode != 503 {
		t.Errorf("the old cookie, its Redis down: %d, want 503", resp.StatusCode)
	}
	old.BlackHole(false)
	want(t, o.bring(id).Do("GET", "/who"), 200, "alice")
}

// If a session could not be carried over, it is not known whether it has ended. A logout
// then returns an error, and if the handler ignores it, the response is a 503.
func TestLogoutThatCouldNotCarryOver(t *testing.T) {
	t.Parallel()
	o, _, old := proxied(t)
	b, _ := o.visitor(oldSession{User: "alice"}, time.Hour)
	hurried := newSiteOn(t, o.client, o.prefix, func(c *settings) {
		c.Legacy, c.LegacyClient, c.Budget = o.kit, redistest.NewClient(t, old.Addr()), 20*time.Millisecond
	})
	silent := browsertest.NewBrowser(browsertest.Middleware(hurried.m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := session.From(r.Context())
		if err := s.Logout(r.Context()); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("logout: %v, want ErrUnavailable", err)
		}
	})))
	silent.SetCookie("sid", b.Cookie("sid"))
	old.BlackHole(true)
	if resp := silent.Do("POST", "/logout"); resp.StatusCode != 503 || silent.Cookie("sid") == "" {
		t.Errorf("%d, cookies %q, want 503 and none", resp.StatusCode, resp.Header["Set-Cookie"])
	}
	old.BlackHole(false)
	want(t, b.Do("GET", "/who"), 200, "alice")
}

// browserLike returns a browser at this site with the old cookie of another.
func (st *site) browserLike(other *browsertest.Browser) *browsertest.Browser {
	b := st.browser()
	b.SetCookie("sid", other.Cookie("sid"))
	return b
}

// If Redis's reply is lost, no second session is made, and none ends.
func TestLostReplyOfACarryOver(t *testing.T) {
	t.Parallel()
	o, ours, old := proxied(t)
	warm, _ := o.visitor(oldSession{User: "warm"}, time.Hour)
	want(t, warm.Do("GET", "/who"), 200, "warm")
	b, _ := o.visitor(oldSession{User: "alice"}, time.Hour)
	ours.DropReply(1, "evalsha", "eval")
	old.DropReply(1, "get", "pttl")
	want(t, b.Do("GET", "/who"), 200, "alice")
	if n := o.sessions("alice"); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
}

// The old kit may have used a Redis of its own, and ours may be a cluster.
func TestOldSessionsInAnotherRedis(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		other := redistest.Embedded(t).Client(t)
		o := newOldSiteOn(t, srv.Client(t), other, redistest.Prefix(t), func(c *settings) { c.LegacyClient = other })
		b, _ := o.visitor(oldSession{User: "alice"}, time.Hour)
		want(t, b.Do("GET", "/who"), 200, "alice")
		if n := len(redistest.Keys(t, other, o.prefix)); n != 1 {
			t.Errorf("%d keys in the old Redis, want the old one", n)
		}
	})
}

// If the old cookie names a key that is no string, there is no session.
func TestOldKeyOfAnotherType(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv)
		id := strings.Repeat("y", 32)
		key := o.prefix + "old:" + id
		o.check(o.client.LPush(t.Context(), key, "x").Err())
		o.check(o.client.Expire(t.Context(), key, time.Minute).Err())
		want(t, o.bring(id).Do("GET", "/who"), 200, "")
	})
}

// The client of the old kit's Redis needs only the permission to read.
func TestOldSessionsNeedReadingOnly(t *testing.T) {
	t.Parallel()
	srv := redistest.NewSingle(t)
	admin := srv.Client(t)
	err := admin.Do(t.Context(), "ACL", "SETUSER", "reader", "on", ">secret", "~*", "-@all", "+hello", "+client", "+get", "+pttl").Err()
	if err != nil {
		t.Fatal(err)
	}
	o := newOldSite(t, srv, func(c *settings) {
		c.LegacyClient = srv.Client(t, func(o *redis.UniversalOptions) { o.Username, o.Password = "reader", "secret" })
	})
	b, _ := o.visitor(oldSession{User: "alice"}, time.Hour)
	want(t, b.Do("GET", "/who"), 200, "alice")
	// Without that permission the request fails, and the visitor is not taken for a
	// guest.
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "reader", "-get").Err(); err != nil {
		t.Fatal(err)
	}
	b, _ = o.visitor(oldSession{User: "alice"}, time.Hour)
	if resp := b.Do("GET", "/who"); resp.StatusCode != 503 || len(resp.Cookies()) != 0 {
		t.Errorf("not permitted: %d, want 503", resp.StatusCode)
	}
}

func TestLegacyConfig(t *testing.T) {
	client := redistest.Embedded(t).Client(t)
	_, err := session.New(kvtest.Open(t, client, gatekit.Options{}), session.Options{Legacy: &oldKit{}, Cookie: session.Cookie{Name: "sid"}})
	if err == nil || !strings.Contains(err.Error(), "Legacy") {
		t.Errorf("a cookie name for both: %v", err)
	}
}

// TestLegacyOfNothing: a program that ignores the error of the reader's or the client's
// constructor passes a typed nil.
func TestLegacyOfNothing(t *testing.T) {
	client := redistest.Embedded(t).Client(t)
	for want, cfg := range map[string]session.Options{
		"Options.LegacyClient: gatekit: client is nil":       {Legacy: &oldKit{}, LegacyClient: (*redis.Client)(nil)},
		"Options.Legacy: the *session_test.oldKit is nil: m": {Legacy: (*oldKit)(nil)},
	} {
		if _, err := session.New(kvtest.Open(t, client, gatekit.Options{}), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
