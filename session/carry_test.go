package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// oldKit is a kit of plain cookies and JSON, and the reader of its sessions.
type oldKit struct {
	prefix  string
	arrived func() // called when the old session was read; nil: nothing
}

type oldSession struct {
	User       string
	Auth       time.Time
	Values     map[string]any
	Persistent bool
	Broken     bool
}

func (*oldKit) Cookie() http.Cookie {
	return http.Cookie{Name: "sid", Path: "/", Domain: "example.com"}
}

func (k *oldKit) Read(ctx context.Context, r *http.Request, get session.LegacyGet) (old session.LegacySession, found bool, err error) {
	c, err := r.Cookie("sid")
	if err != nil || len(c.Value) != 32 {
		return old, false, nil
	}
	v, found, err := get(ctx, k.prefix+"old:"+c.Value)
	if err != nil || !found {
		return old, false, nil // the request must fail even though the reader hides the error of get
	}
	var o oldSession
	if err := json.Unmarshal(v.Data, &o); err != nil || o.Broken {
		return old, false, errors.New("it is broken")
	}
	if k.arrived != nil {
		k.arrived()
	}
	old = session.LegacySession{ID: c.Value, Carried: session.Carried{
		UserID: o.User, AuthTime: o.Auth, Values: o.Values, Persistent: o.Persistent,
	}}
	if v.Left > 0 {
		old.Expires = time.Now().Add(v.Left)
	}
	return old, true, nil
}

// oldSite is a site whose visitors come with sessions of another kit.
type oldSite struct {
	*site
	kit *oldKit
	old redis.UniversalClient // where the old sessions are
}

func newOldSite(t testing.TB, srv *redistest.Server, change ...func(*settings)) *oldSite {
	t.Helper()
	client := srv.Client(t)
	return newOldSiteOn(t, client, client, redistest.Prefix(t), change...)
}

func newOldSiteOn(t testing.TB, client, old redis.UniversalClient, prefix string, change ...func(*settings)) *oldSite {
	t.Helper()
	o := &oldSite{kit: &oldKit{prefix: prefix}, old: old}
	o.site = newSiteOn(t, client, prefix, append(change, func(c *settings) { c.Legacy = o.kit })...)
	return o
}

// visitor returns a browser with a session of the old kit, that ends after life, and its
// id.
func (o *oldSite) visitor(s oldSession, life time.Duration) (*browsertest.Browser, string) {
	o.t.Helper()
	id := fmt.Sprintf("%032d", time.Now().UnixNano())
	data, err := json.Marshal(s)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := o.old.Set(o.t.Context(), o.kit.prefix+"old:"+id, data, life).Err(); err != nil {
		o.t.Fatal(err)
	}
	return o.bring(id), id
}

// bring returns a browser that has the old cookie only.
func (o *oldSite) bring(id string) *browsertest.Browser {
	b := o.browser()
	b.SetCookie("sid", id)
	return b
}

// sessions returns how many sessions the user has.
func (o *oldSite) sessions(user string) int {
	o.t.Helper()
	infos, _, err := o.m.List(o.t.Context(), user, "")
	o.check(err)
	return len(infos)
}

func TestOldSessionIsCarriedOver(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv)
		b, id := o.visitor(oldSession{User: "alice", Values: map[string]any{"color": "red", "hits": 7}}, time.Hour)
		key := o.kit.prefix + "old:" + id
		before := o.old.Get(t.Context(), key).Val()
		resp := b.Do("GET", "/who")
		if got := resp.Header["Set-Cookie"]; len(got) != 1 || !strings.HasPrefix(got[0], cookieName+"=1") || strings.Contains(got[0], "Max-Age") {
			t.Errorf("Set-Cookie %q, want our cookie, until the browser ends", got)
		}
		if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Vary") != "Cookie" {
			t.Errorf("header %v", resp.Header)
		}
		want(t, resp, 200, "alice")
		want(t, b.Do("POST", "/add"), 200, "")
		want(t, b.Do("GET", "/hits"), 200, "8")
		want(t, b.Do("GET", "/get?k=color"), 200, "red")
		o.request(b, func(ctx context.Context, s *session.Session) {
			if s.Level() != 1 || s.Fresh(100*365*24*time.Hour) || !s.AuthTime().IsZero() {
				t.Errorf("level %d, authenticated %v", s.Level(), s.AuthTime())
			}
			if left := time.Until(s.Expires()); left < 20*time.Minute || left > 31*time.Minute {
				t.Errorf("ends in %v, want the idle time", left)
			}
			infos, _, err := o.m.List(ctx, "alice", "")
			if err != nil || len(infos) != 1 || !infos[0].Current || infos[0].ID != s.ID() || !infos[0].AuthTime.IsZero() {
				t.Errorf("list: %v, %v", infos, err)
			}
			if err := s.Elevate(ctx, 2); err != nil || !s.Fresh(time.Minute) {
				t.Errorf("elevate: %v", err)
			}
		})
		ttl := o.old.PTTL(t.Context(), key).Val()
		if after := o.old.Get(t.Context(), key).Val(); after != before || ttl <= 0 || ttl > time.Hour {
			t.Errorf("the old session was changed: %q, TTL %v", after, ttl)
		}
		redistest.NoImmortalKeys(t, o.client, o.prefix)
	})
}

func TestOldGuestIsCarriedOver(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv)
		b, id := o.visitor(oldSession{Values: map[string]any{"color": "red"}, Persistent: true}, 0)
		want(t, b.Do("GET", "/get?k=color"), 200, "red")
		want(t, o.bring(id).Do("GET", "/get?k=color"), 200, "red")
		if n := len(o.keys("s")); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
		want(t, b.Do("POST", "/login?user=alice"), 200, "")
		want(t, b.Do("GET", "/who"), 200, "alice")
		want(t, o.bring(id).Do("GET", "/get?k=color"), 200, "(none)")
		redistest.NoImmortalKeys(t, o.client, o.prefix+":")
	})
}

func TestFiftyFirstRequestsMakeOneSession(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv)
		_, id := o.visitor(oldSession{User: "alice", Values: map[string]any{"hits": 0}}, time.Hour)
		var read sync.WaitGroup // all have read the old session before the first one writes
		read.Add(50)
		o.kit.arrived = func() { read.Done(); read.Wait() }
		var mu sync.Mutex
		cookies := map[string]bool{}
		together(50, func(int) {
			b := o.bring(id)
			want(t, b.Do("POST", "/add"), 200, "")
			mu.Lock()
			defer mu.Unlock()
			cookies[b.Cookie(cookieName)] = true
		})
		if len(cookies) != 1 || cookies[""] || len(o.keys("s")) != 1 || o.sessions("alice") != 1 {
			t.Errorf("%d cookies, %d records, %d sessions: want 1 each", len(cookies), len(o.keys("s")), o.sessions("alice"))
		}
		o.kit.arrived = nil
		want(t, o.bring(id).Do("GET", "/hits"), 200, "50")
	})
}

func TestEndedStaysEndedThoughTheOldCookieComes(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		for name, end := range map[string]func(o *oldSite, b *browsertest.Browser){
			"logout": func(o *oldSite, b *browsertest.Browser) {
				resp := b.Do("POST", "/logout")
				want(t, resp, 200, "")
				if b.Cookie("sid") != "" || b.Cookie(cookieName) != "" {
					t.Errorf("logout leaves cookies: %q", resp.Header["Set-Cookie"])
				}
			},
			"login": func(o *oldSite, b *browsertest.Browser) { want(t, b.Do("POST", "/login?user=bob"), 200, "") },
			"login, again": func(o *oldSite, b *browsertest.Browser) {
				want(t, b.Do("POST", "/login?user=alice"), 200, "")
				want(t, b.Do("GET", "/who"), 200, "alice") // the new cookie is used
			},
			"revoke": func(o *oldSite, b *browsertest.Browser) {
				infos, _, err := o.m.List(t.Context(), "alice", "")
				o.check(err)
				o.check(o.m.Revoke(t.Context(), "alice", infos[0].ID))
			},
			"revoke user": func(o *oldSite, b *browsertest.Browser) {
				_, err := o.m.RevokeUser(t.Context(), "alice")
				o.check(err)
			},
			"revoke all": func(o *oldSite, b *browsertest.Browser) { o.check(o.m.RevokeAll(t.Context())) },
			"loss":       func(o *oldSite, b *browsertest.Browser) { o.check(o.client.Del(t.Context(), o.keys("s")...).Err()) },
		} {
			t.Run(name, func(t *testing.T) {
				o := newOldSite(t, srv)
				b, id := o.visitor(oldSession{User: "alice", Auth: time.Now().Add(-time.Hour)}, time.Hour)
				want(t, b.Do("GET", "/who"), 200, "alice")
				end(o, b)
				for range 2 {
					again := o.bring(id)
					resp := again.Do("GET", "/who")
					if got := body(resp); got != "" || len(resp.Cookies()) != 0 {
						t.Errorf("the old cookie brings %q back, cookies %v", got, resp.Cookies())
					}
				}
				// Within 10 s of a logout the request may have begun before it, so no new
				// session is made.
				if name == "revoke user" {
					again := o.bring(id)
					want(t, again.Do("POST", "/set?k=color&v=red"), 200, "")
					want(t, again.Do("GET", "/get?k=color"), 200, "red")
				}
				if name == "logout" {
					if resp := o.bring(id).Do("POST", "/set?k=color&v=red"); resp.StatusCode != 409 || len(resp.Cookies()) != 0 {
						t.Errorf("a write right after the logout: %d", resp.StatusCode)
					}
				}
			})
		}
	})
}

// A request that has read the old session carries it over only after the browser logged
// out.
func TestCarryOverRacesWithLogout(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv)
		b, id := o.visitor(oldSession{User: "alice"}, time.Hour)
		arrived, goOn := make(chan bool), make(chan bool)
		o.kit.arrived = func() { arrived <- true; <-goOn }
		late := o.bring(id)
		answer := make(chan *http.Response)
		go func() { answer <- late.Do("GET", "/who") }()
		<-arrived
		o.kit.arrived = nil
		want(t, b.Do("GET", "/who"), 200, "alice")
		want(t, b.Do("POST", "/logout"), 200, "")
		goOn <- true
		resp := <-answer
		if got := body(resp); got != "" || len(resp.Cookies()) != 0 {
			t.Errorf("the late request is %q, cookies %v", got, resp.Cookies())
		}
		if n := o.sessions("alice"); n != 0 {
			t.Errorf("%d sessions, want 0", n)
		}
	})
}

// Logout ends a session, whichever of many requests carries it over.
func TestCarryOversAndLogoutsAtOnce(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv)
		for range 20 {
			_, id := o.visitor(oldSession{User: "alice"}, time.Hour)
			together(6, func(i int) {
				b := o.bring(id)
				if i == 0 {
					want(t, b.Do("POST", "/logout"), 200, "")
				} else {
					b.Do("POST", "/set?k=color&v=red")
				}
			})
			if got := body(o.bring(id).Do("GET", "/who")); got != "" {
				t.Fatalf("logged out, and %q again", got)
			}
		}
		if n := o.sessions("alice"); n != 0 {
			t.Errorf("%d sessions, want 0", n)
		}
	})
}

func TestRevocationsReachOldSessions(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		for _, c := range []struct {
			name  string
			auth  time.Duration // ago; 0: unknown
			after bool          // authenticated after the revocation
		}{{"unknown", 0, false}, {"before", time.Hour, false}, {"after", time.Minute, true}} {
			t.Run(c.name, func(t *testing.T) {
				for _, all := range []bool{false, true} {
					o := newOldSite(t, srv)
					old := oldSession{User: "alice"}
					if c.auth > 0 {
						old.Auth = time.Now().Add(-c.auth)
					}
					b, id := o.visitor(old, time.Hour)
					if all {
						o.check(o.m.RevokeAll(t.Context()))
					} else {
						_, err := o.m.RevokeUser(t.Context(), "alice")
						o.check(err)
					}
					user := ""
					if c.after { // the epoch is set back
						user = "alice"
						for _, kind := range []string{"e", "g"} {
							for _, key := range o.keys(kind) {
								o.check(o.client.Set(t.Context(), key, time.Now().Add(-time.Hour).UnixMicro(), time.Hour).Err())
							}
						}
						o.site = newSiteOn(t, o.client, o.prefix, func(c *settings) { c.Legacy = o.kit })
						b = o.bring(id)
					}
					want(t, b.Do("GET", "/who"), 200, user)
					if n := o.sessions("alice"); n != len(user)/5 {
						t.Errorf("%s, all %v: %d sessions", c.name, all, n)
					}
				}
			})
		}
	})
}

// RevokeOthers from a session that was carried over ends the old sessions of other
// browsers.
func TestRevokeOthersReachesOldSessions(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv)
		b, _ := o.visitor(oldSession{User: "alice"}, time.Hour)
		other, _ := o.visitor(oldSession{User: "alice"}, time.Hour)
		o.request(b, func(ctx context.Context, s *session.Session) {
			_, err := s.RevokeOthers(ctx)
			o.check(err)
		})
		want(t, other.Do("GET", "/who"), 200, "")
		want(t, b.Do("GET", "/who"), 200, "alice")
	})
}

func TestCapHoldsForOldSessions(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv, func(c *settings) { c.Cap = 2 })
		var ids []string
		for range 3 {
			b, id := o.visitor(oldSession{User: "alice"}, time.Hour)
			want(t, b.Do("GET", "/who"), 200, "alice")
			ids = append(ids, id)
		}
		if n := o.sessions("alice"); n != 2 {
			t.Errorf("%d sessions, want 2", n)
		}
		in := 0 // the old cookie does not bring back an evicted session
		for _, id := range ids {
			in += len(body(o.bring(id).Do("GET", "/who"))) / len("alice")
		}
		if in != 2 {
			t.Errorf("%d old cookies are logged in, want 2", in)
		}
		refusing := newOldSite(t, srv, func(c *settings) { c.Cap, c.CapPolicy = 1, session.RefuseLogin })
		refusing.login("alice")
		b, _ := refusing.visitor(oldSession{User: "alice"}, time.Hour)
		want(t, b.Do("GET", "/who"), 200, "")
		if !strings.Contains(refusing.logs.String(), "cap of the user's sessions reached") {
			t.Errorf("log: %s", refusing.logs)
		}
	})
}

func TestDeadlinesOfOldSessions(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		for _, c := range []struct {
			name       string
			life       time.Duration // of the old session; 0: for ever
			persistent bool
			want       time.Duration
		}{
			{"the old session ends first", 2 * time.Hour, false, 2 * time.Hour},
			{"ours ends first", 48 * time.Hour, false, 12 * time.Hour},
			{"no end", 0, false, 12 * time.Hour},
			{"persistent, the old one ends first", 48 * time.Hour, true, 48 * time.Hour},
			{"persistent, ours ends first", 60 * 24 * time.Hour, true, 30 * 24 * time.Hour},
		} {
			t.Run(c.name, func(t *testing.T) {
				o := newOldSite(t, srv, func(cfg *settings) { cfg.Lifetime = session.Lifetime{AbsoluteTimeout: 12 * time.Hour} })
				b, _ := o.visitor(oldSession{User: "alice", Persistent: c.persistent}, c.life)
				resp := b.Do("GET", "/who")
				want(t, resp, 200, "alice")
				if age := time.Duration(resp.Cookies()[0].MaxAge) * time.Second; c.persistent != (age > 0) || age > c.want || c.persistent && age < c.want-time.Minute {
					t.Errorf("cookie for %v, want %v", age, c.want)
				}
				o.request(b, func(ctx context.Context, s *session.Session) {
					if left := time.Until(s.Expires()); left > c.want+time.Second || left < c.want-time.Minute {
						t.Errorf("%v left, want %v", left, c.want)
					}
				})
				for _, key := range append(o.keys("s"), o.keys("o")...) {
					if ttl := o.client.PTTL(t.Context(), key).Val(); ttl < c.want-time.Minute {
						t.Errorf("TTL of %s is %v, want %v or more", key, ttl, c.want)
					}
				}
			})
		}
	})
}

// An old session that has ended is not carried over. One that is about to end is, and the
// new session ends at the same time.
func TestOldSessionExpires(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv)
		b, id := o.visitor(oldSession{User: "alice"}, 300*time.Millisecond)
		who := body(b.Do("GET", "/who")) // "" if this machine stood still
		for until := time.Now().Add(10 * time.Second); who != "" && time.Now().Before(until); {
			time.Sleep(20 * time.Millisecond)
			who = body(b.Do("GET", "/who"))
		}
		if who != "" {
			t.Error("the new session outlives the old one")
		}
		want(t, o.bring(id).Do("GET", "/who"), 200, "")
	})
}

// An old session that the reader does not understand is logged and stays. The visitor is
// a guest until a program understands it.
func TestOldSessionThatIsNotUnderstood(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		for name, old := range map[string]oldSession{
			"it is broken":    {User: "alice", Broken: true},
			`name "a b"`:      {User: "alice", Values: map[string]any{"a b": 1}},
			"too large":       {User: "alice", Values: map[string]any{"a": strings.Repeat("x", 17<<10)}},
			"user id of 2000": {User: strings.Repeat("x", 2000)},
		} {
			t.Run(name, func(t *testing.T) {
				o := newOldSite(t, srv)
				b, _ := o.visitor(old, time.Hour)
				resp := b.Do("GET", "/who")
				if len(resp.Cookies()) != 0 {
					t.Errorf("cookies %v", resp.Cookies())
				}
				want(t, resp, 200, "")
				if log := o.logs.String(); !strings.Contains(log, "can't be carried over") || !strings.Contains(strings.ReplaceAll(log, `\`, ""), name) {
					t.Errorf("log %q", log)
				}
				if keys := slices.Concat(o.keys("s"), o.keys("o")); len(keys) != 0 {
					t.Errorf("keys %q", keys)
				}
			})
		}
	})
}

// If the response is lost, or is an error, the next request gets the session.
func TestLostResponseOfACarryOver(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv)
		b, _ := o.visitor(oldSession{User: "alice"}, time.Hour)
		first := b.Send(b.Request("POST", "/add", nil))
		second := b.Send(b.Request("POST", "/add", nil))
		if a, b := first.Cookies()[0].Value, second.Cookies()[0].Value; a != b {
			t.Error("two tokens")
		}
		b.Keep(second)
		want(t, b.Do("GET", "/hits"), 200, "2")
		if n := o.sessions("alice"); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
	})
}

// If the old cookie comes alone after our token was replaced, it is refused, but does not
// count as theft.
func TestOldCookieAfterElevation(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv)
		b, id := o.visitor(oldSession{User: "alice"}, time.Hour)
		o.request(b, func(ctx context.Context, s *session.Session) { o.check(s.Elevate(ctx, 2)) })
		want(t, b.Do("GET", "/who"), 200, "alice") // the elevated token is in use
		if resp := o.bring(id).Do("GET", "/who"); len(resp.Cookies()) != 0 {
			t.Errorf("the replaced token is handed out: %v", resp.Cookies())
		}
		// As if the grace time were over.
		o.check(o.client.HSet(t.Context(), o.keys("s")[0], "!r", "1").Err())
		want(t, o.bring(id).Do("GET", "/who"), 200, "")
		want(t, b.Do("GET", "/who"), 200, "alice")
	})
}

func TestOldSessionsUnderEncryption(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv, func(c *settings) {
			c.Codec, _ = session.Encrypt(nil, []byte("0123456789abcdef0123456789abcdef"))
		})
		b, id := o.visitor(oldSession{User: "alice", Values: map[string]any{"color": "red"}}, time.Hour)
		want(t, b.Do("GET", "/get?k=color"), 200, "red")
		want(t, o.bring(id).Do("GET", "/get?k=color"), 200, "red")
	})
}

// A hijacked connection carries no cookie. The session is made, and the next request gets
// its token.
func TestCarryOverOnAHijackedConnection(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		o := newOldSite(t, srv)
		b, id := o.visitor(oldSession{User: "alice"}, time.Hour)
		o.on("/hijack", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			_, _, err := w.(http.Hijacker).Hijack()
			if s.UserID() != "alice" || err == nil || err.Error() != "taken" {
				t.Errorf("%q, %v", s.UserID(), err)
			}
		})
		o.handler.ServeHTTP(struct {
			*discard
			withHijack
		}{discard: &discard{header: http.Header{}}}, b.Request("GET", "/hijack", nil))
		next := o.bring(id)
		want(t, next.Do("GET", "/who"), 200, "alice")
		if next.Cookie(cookieName) == "" || o.sessions("alice") != 1 {
			t.Errorf("cookie %q, %d sessions", next.Cookie(cookieName), o.sessions("alice"))
		}
	})
}
