package session_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// asked counts the commands that the site's requests send while f runs. It leaves out
// commands that set up a connection, and the read of the global epoch, which each process
// sends once a second.
func asked(proxy *redistest.Proxy, f func()) (commands int64, names string) {
	during := proxy.During(f).Commands
	for name, n := range during {
		if main, _, _ := strings.Cut(name, "|"); main != "hello" && main != "client" && main != "get" {
			commands += n
			names += fmt.Sprintf(" %s:%d", name, n)
		}
	}
	return commands, names
}

func TestCommandsPerRequest(t *testing.T) {
	srv := redistest.NewSingle(t)
	proxy := redistest.NewProxy(t, srv.Nodes()[0].Addr())
	st := newSiteOn(t, redistest.NewClient(t, proxy.Addr()), redistest.Prefix(t))
	ignores := browsertest.NewBrowser(browsertest.Middleware(st.m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})))
	in, dead := st.login("alice"), st.login("bob")
	st.request(in, func(ctx context.Context, s *session.Session) {
		st.check(cart.Set(s, []string{"a"}))
		_, err := hits.Get(s)
		st.check(err)
	})
	want(t, in.Do("POST", "/add"), 200, "") // all scripts are loaded
	again := st.login("erin")
	want(t, again.Do("POST", "/login?user=erin"), 200, "")
	want(t, again.Do("GET", "/who"), 200, "erin")
	want(t, dead.Clone().Do("POST", "/logout"), 200, "")
	if err := st.m.Revoke(t.Context(), "alice", "AZnothing_like_this_id"); err == nil {
		t.Error("revoked what is not there")
	}
	guest := st.browser()
	want(t, guest.Do("POST", "/set?k=a&v=b"), 200, "")
	want(t, guest.Do("GET", "/get?k=a"), 200, "b") // the second use, which is noted
	withUnread := func(b *browsertest.Browser) *browsertest.Browser {
		c := browsertest.NewBrowser(browsertest.Middleware(st.m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})))
		c.SetCookie(cookieName, b.Cookie(cookieName))
		return c
	}
	carol := st.browser()
	malformed := st.browser()
	malformed.SetCookie(cookieName, in.Cookie(cookieName)+"x")
	doubled := func() *http.Response {
		r := guest.Request("GET", "/who", nil)
		r.Header.Add("Cookie", cookieName+"="+in.Cookie(cookieName))
		return guest.Send(r)
	}
	update := func() *http.Response {
		return st.request(in, func(ctx context.Context, s *session.Session) {
			_, err := cart.Update(ctx, s, func(l []string) ([]string, error) { return []string{"b"}, nil })
			st.check(err)
		})
	}
	update()
	for _, c := range []struct {
		name    string
		do      func() *http.Response
		want    int64
		cookies int
	}{
		{"no cookie, session not asked for", func() *http.Response { return ignores.Do("GET", "/") }, 0, 0},
		{"no cookie, session read", func() *http.Response { return st.browser().Do("GET", "/who") }, 0, 0},
		{"no cookie, values read", func() *http.Response { return st.browser().Do("GET", "/hits") }, 0, 0},
		{"no cookie, logout", func() *http.Response { return st.browser().Do("POST", "/logout") }, 0, 0},
		{"cookie, session not asked for", func() *http.Response { return withUnread(in).Do("GET", "/") }, 0, 0},
		{"malformed cookie", func() *http.Response { return malformed.Do("GET", "/who") }, 0, 0},
		{"two valid cookies", doubled, 2, 0}, // in one round trip
		{"read", func() *http.Response { return in.Do("GET", "/who") }, 1, 0},
		{"read by a guest", func() *http.Response { return guest.Do("GET", "/get?k=a") }, 1, 0},
		{"dead cookie", func() *http.Response { return dead.Do("GET", "/who") }, 1, 0},
		{"read and write", func() *http.Response { return in.Do("POST", "/add") }, 2, 0},
		{"read and many writes", func() *http.Response {
			return st.request(in, func(ctx context.Context, s *session.Session) {
				for i := range 20 {
					st.check(session.NewKey[int](fmt.Sprint("k", i)).Set(s, i))
				}
			})
		}, 2, 0},
		{"Pop of nothing", func() *http.Response {
			return st.request(in, func(ctx context.Context, s *session.Session) { _, _, _ = color.Pop(ctx, s) })
		}, 1, 0},
		{"SetNX of something", func() *http.Response {
			return st.request(in, func(ctx context.Context, s *session.Session) { _, _, _ = cart.SetNX(ctx, s, nil) })
		}, 1, 0},
		{"no flashes", func() *http.Response {
			return st.request(in, func(ctx context.Context, s *session.Session) { _, _ = s.Flashes(ctx) })
		}, 1, 0},
		{"Update", update, 2, 0},
		{"new guest", func() *http.Response { return st.browser().Do("POST", "/set?k=a&v=b") }, 1, 1},
		{"new guest, who comes back", func() *http.Response {
			b := st.browser()
			b.Do("POST", "/set?k=a&v=b")
			return b.Do("GET", "/who")
		}, 3, 0},
		{"login without a cookie", func() *http.Response { return st.browser().Do("POST", "/login?user=carol") }, 1, 1},
		{"login of a guest", func() *http.Response {
			carol.SetCookie(cookieName, guest.Cookie(cookieName))
			return carol.Do("POST", "/login?user=carol")
		}, 2, 1},
		{"first use of that login", func() *http.Response { return carol.Do("GET", "/who") }, 3, 0},
		{"second use of that login", func() *http.Response { return carol.Do("GET", "/who") }, 1, 0},
		{"login, then logout", func() *http.Response { return st.login("dave").Do("POST", "/logout") }, 3, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var resp *http.Response
			n, names := asked(proxy, func() { resp = c.do() })
			if n != c.want {
				t.Errorf("%d commands, want %d:%s", n, c.want, names)
			}
			if got := len(resp.Cookies()); got != c.cookies {
				t.Errorf("%d cookies, want %d", got, c.cookies)
			}
		})
	}
}

// Requests of robots make no empty sessions, which would fill the store.
func TestVisitorsWhoSetNothingLeaveNothing(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		for range 20 {
			b := st.browser()
			b.Do("GET", "/who")
			b.Do("GET", "/hits")
			b.Do("POST", "/logout")
			st.request(b, func(ctx context.Context, s *session.Session) {
				_, _ = s.Flashes(ctx)
				_, _, _ = color.Pop(ctx, s)
				st.check(color.Delete(s))
				st.check(s.Clear())
				st.check(s.Save(ctx))
				st.check(s.Reload(ctx))
			})
			if b.Cookie(cookieName) != "" {
				t.Fatal("a cookie for nothing")
			}
		}
		if keys := redistest.Keys(t, st.client, st.prefix); len(keys) != 0 {
			t.Errorf("keys %q, want none", keys)
		}
	})
}

// If a client makes up a token, no record is ever made for it.
func TestClientChosenTokensAreNotAdopted(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		chosen := "1AA" + strings.Repeat("attackers-choice", 5)[:65]
		b := st.browser()
		b.SetCookie(cookieName, chosen)
		if resp := b.Do("GET", "/who"); len(resp.Cookies()) != 0 {
			t.Error("a miss changed the cookie")
		}
		if keys := redistest.Keys(t, st.client, st.prefix); len(keys) != 0 {
			t.Errorf("a read made keys %q", keys)
		}
		want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		minted := b.Cookie(cookieName)
		if minted == chosen || minted[3:25] == chosen[3:25] {
			t.Error("the client's token was adopted")
		}
		b.SetCookie(cookieName, chosen)
		want(t, b.Do("POST", "/login?user=alice"), 200, "")
		if got := b.Cookie(cookieName); got == chosen || got[3:25] == chosen[3:25] {
			t.Error("login adopted the client's token")
		}
		b.SetCookie(cookieName, chosen)
		want(t, b.Do("GET", "/who"), 200, "")
	})
}

func BenchmarkRead3Of8(b *testing.B) {
	st := newSite(b, redistest.Single(b))
	br := st.browser()
	keys := make([]session.Key[string], 8)
	for i := range keys {
		keys[i] = session.NewKey[string](fmt.Sprint("value", i))
		resp := br.Do("POST", fmt.Sprintf("/set?k=value%d&v=something", i))
		if resp.StatusCode != 200 {
			b.Fatal(resp.Status)
		}
	}
	h := browsertest.Middleware(st.m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err != nil {
			b.Error(err)
		}
		for _, k := range keys[:3] {
			if v, err := k.Get(s); err != nil || v != "something" {
				b.Errorf("%q, %v", v, err)
			}
		}
		io.WriteString(w, "x")
	}))
	r := br.Request("GET", "/", nil)
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.ServeHTTP(w, r)
	}
}

// discard is a response writer that costs nothing itself.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header                 { return d.header }
func (d *discard) WriteHeader(int)                     {}
func (d *discard) Write(p []byte) (int, error)         { return len(p), nil }
func (d *discard) WriteString(s string) (int, error)   { return len(s), nil }
func (d *discard) Flush()                              {}
func (d *discard) ReadFrom(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }

func TestAllocationsOfARead(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	result := testing.Benchmark(BenchmarkRead3Of8)
	if n := result.AllocsPerOp(); n > 40 {
		t.Errorf("%d allocations for a request that reads 3 of 8 values, want at most 40", n)
	} else {
		t.Logf("%d allocations, %v", n, result)
	}
}
