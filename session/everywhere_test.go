package session_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

func TestLogoutEverywhere(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		own, other, carol := st.login("alice"), st.login("alice"), st.login("carol")
		resp := st.request(own, func(ctx context.Context, s *session.Session) {
			if n, err := s.LogoutEverywhere(ctx); n != 2 || err != nil {
				t.Errorf("got %d, %v, want 2", n, err)
			}
			if s.UserID() != "" || s.ID() != "" {
				t.Errorf("the request's session is still that of %q", s.UserID())
			}
		})
		if own.Cookie(cookieName) != "" || resp.StatusCode != http.StatusOK {
			t.Errorf("got %d with the cookie %v, want it removed", resp.StatusCode, resp.Header["Set-Cookie"])
		}
		want(t, other.Do("GET", "/who"), 200, "")
		want(t, carol.Do("GET", "/who"), 200, "carol")
		// Carol also logs in again in the same request.
		st.request(carol, func(ctx context.Context, s *session.Session) {
			_, err := s.LogoutEverywhere(ctx)
			st.check(errors.Join(err, s.Login(ctx, "carol", session.LoginOptions{})))
		})
		want(t, carol.Do("GET", "/who"), 200, "carol")
		redistest.NoImmortalKeys(t, st.client, st.prefix)
	})
}

// TestLogoutEverywhereWithoutRedis: it is not known whether the sessions ended, so the
// visitor keeps the cookie and gets a 503.
func TestLogoutEverywhereWithoutRedis(t *testing.T) {
	srv := redistest.Single(t)
	proxy := redistest.NewProxy(t, srv.Addrs()[0])
	st := newSiteOn(t, redistest.NewClient(t, proxy.Addr()), redistest.Prefix(t), func(c *settings) { c.Budget = 200 * time.Millisecond })
	b := st.login("alice")
	was := b.Cookie(cookieName)
	resp := st.request(b, func(ctx context.Context, s *session.Session) {
		proxy.Refuse(true)
		if _, err := s.LogoutEverywhere(ctx); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	})
	proxy.Refuse(false)
	if resp.StatusCode != http.StatusServiceUnavailable || b.Cookie(cookieName) != was {
		t.Errorf("got %d with the cookie %v, want 503 and the cookie as it was", resp.StatusCode, resp.Header["Set-Cookie"])
	}
}

// TestWhatOnlyUsersCan: guests get ErrNotLoggedIn, which a program can distinguish from
// its own errors.
func TestWhatOnlyUsersCan(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		calls := map[string]func(context.Context, *session.Session) error{
			"RevokeOthers":     func(ctx context.Context, s *session.Session) error { _, err := s.RevokeOthers(ctx); return err },
			"LogoutEverywhere": func(ctx context.Context, s *session.Session) error { _, err := s.LogoutEverywhere(ctx); return err },
			"Elevate":          func(ctx context.Context, s *session.Session) error { return s.Elevate(ctx, 2) },
			"Rotate":           func(ctx context.Context, s *session.Session) error { return s.Rotate(ctx) },
		}
		visitor, guest, dead := st.browser(), st.browser(), st.browser()
		want(t, guest.Do("POST", "/set?k=color&v=red"), 200, "")
		dead.SetCookie(cookieName, "1"+strings.Repeat("A", 67))
		for name, call := range calls {
			t.Run(name, func(t *testing.T) {
				st.on("/"+name, func(w http.ResponseWriter, r *http.Request, s *session.Session) {
					err := call(r.Context(), s)
					if !errors.Is(err, session.ErrNotLoggedIn) {
						t.Errorf("%s of a guest: %v, want ErrNotLoggedIn", name, err)
					}
					st.m.Refuse(w, r, err)
				})
				want(t, visitor.Do("POST", "/"+name), 401, "")
				want(t, guest.Do("POST", "/"+name), 401, "")
				want(t, dead.Do("POST", "/"+name), 401, "")
			})
		}
		want(t, guest.Do("GET", "/get?k=color"), 200, "red")
	})
}

// TestLoginAfterARevocationOfTheSameRequest: a revocation may run under another context
// than the request's. The login then passes the time at which the credentials were
// checked. Without it, the login of a request that began before the revocation is
// refused.
func TestLoginAfterARevocationOfTheSameRequest(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		for range 20 { // Redis may answer the login faster or slower than the revocation
			st.request(st.browser(), func(ctx context.Context, s *session.Session) {
				early := time.Now()
				st.revoke(st.m.RevokeUser(context.Background(), "alice"))
				for what, at := range map[string]time.Time{"the request's beginning": {}, "before": early, "to come": time.Now().Add(time.Hour)} {
					t.Run(what, func(t *testing.T) {
						if err := s.Login(ctx, "alice", session.LoginOptions{AuthenticatedAt: at}); !errors.Is(err, session.ErrStaleLogin) {
							t.Errorf("a login authenticated at a time %s: %v, want ErrStaleLogin", what, err)
						}
					})
				}
				if err := s.Login(ctx, "alice", session.LoginOptions{AuthenticatedAt: time.Now()}); err != nil {
					t.Errorf("a login authenticated afterwards: %v", err)
				}
				if d := time.Since(s.AuthTime()); d > time.Minute || d < -time.Minute {
					t.Errorf("authenticated at %v", s.AuthTime())
				}
			})
			want(t, st.login("alice").Do("GET", "/who"), 200, "alice") // a request that began afterwards
		}
	})
}

// TestLoginAfterARevocationWithSlowReplies: within a round trip Redis's clock can't tell
// which came first, but the process that revoked knows it.
func TestLoginAfterARevocationWithSlowReplies(t *testing.T) {
	srv := redistest.Single(t)
	proxy := redistest.NewProxy(t, srv.Addrs()[0])
	st := newSiteOn(t, redistest.NewClient(t, proxy.Addr()), redistest.Prefix(t), func(c *settings) { c.Budget = 10 * time.Second })
	st.login("alice")
	st.request(st.browser(), func(ctx context.Context, s *session.Session) {
		st.revoke(st.m.RevokeUser(context.Background(), "alice"))
		at := time.Now()
		proxy.DelayReplies(100 * time.Millisecond)
		defer proxy.DelayReplies(0)
		if err := s.Login(ctx, "alice", session.LoginOptions{AuthenticatedAt: at}); err != nil {
			t.Errorf("a login authenticated afterwards: %v", err)
		}
	})
}
