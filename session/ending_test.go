package session_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// endings end alice's session, from outside the request under way.
var endings = map[string]func(st *site, b *browsertest.Browser){
	"logout":      func(st *site, b *browsertest.Browser) { want(st.t, b.Clone().Do("POST", "/logout"), 200, "") },
	"revoke user": func(st *site, b *browsertest.Browser) { st.revoke(st.m.RevokeUser(context.Background(), "alice")) },
	"revoke all":  func(st *site, b *browsertest.Browser) { st.check(st.m.RevokeAll(context.Background())) },
	"revoke one": func(st *site, b *browsertest.Browser) {
		infos, _, err := st.m.List(context.Background(), "alice", "")
		st.check(err)
		for _, i := range infos {
			if err := st.m.Revoke(context.Background(), "alice", i.ID); err != nil && !errors.Is(err, session.ErrGone) {
				st.t.Errorf("Revoke: %v", err)
			}
		}
	},
	"revoke others": func(st *site, b *browsertest.Browser) {
		other := st.login("alice")
		st.request(other, func(ctx context.Context, s *session.Session) { st.revoke(s.RevokeOthers(ctx)) })
		want(st.t, other.Do("GET", "/who"), 200, "alice")
		want(st.t, other.Do("POST", "/logout"), 200, "")
	},
	"relogin": func(st *site, b *browsertest.Browser) {
		other := b.Clone()
		want(st.t, other.Do("POST", "/login?user=alice"), 200, "")
		want(st.t, other.Do("POST", "/logout"), 200, "")
	},
}

func (st *site) revoke(_ int, err error) { st.check(err) }

// doings are the operations of a request under way on a session that ends meanwhile.
var doings = map[string]func(ctx context.Context, s *session.Session) error{
	"read":    func(ctx context.Context, s *session.Session) error { return nil },
	"set":     func(ctx context.Context, s *session.Session) error { return color.Set(s, "zombie") },
	"save":    func(ctx context.Context, s *session.Session) error { _ = color.Set(s, "zombie"); return s.Save(ctx) },
	"add":     func(ctx context.Context, s *session.Session) error { return hits.Add(s, 1) },
	"pop":     func(ctx context.Context, s *session.Session) error { _, _, err := cart.Pop(ctx, s); return err },
	"rotate":  func(ctx context.Context, s *session.Session) error { return s.Rotate(ctx) },
	"elevate": func(ctx context.Context, s *session.Session) error { return s.Elevate(ctx, 2) },
	"setnx":   func(ctx context.Context, s *session.Session) error { _, _, err := color.SetNX(ctx, s, "z"); return err },
	"update": func(ctx context.Context, s *session.Session) error {
		_, err := color.Update(ctx, s, func(string) (string, error) { return "zombie", nil })
		return err
	},
}

// A request that has read the session acts after it ended: the session stays ended, in
// all combinations.
func TestLoggedOutStaysLoggedOut(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		for ending, end := range endings {
			for doing, do := range doings {
				t.Run(doing+" after "+ending, func(t *testing.T) {
					b := st.login("alice")
					st.on("/race", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
						end(st, b)
						err := do(r.Context(), s)
						// These changes wait for the commit. A Pop finds nothing in the
						// snapshot.
						waits := doing == "read" || doing == "set" || doing == "add" || doing == "pop"
						if waits && err != nil {
							t.Errorf("got %v, want no error ahead of the commit", err)
						}
						if !waits && !errors.Is(err, session.ErrGone) {
							t.Errorf("got %v, want ErrGone", err)
						}
					})
					resp := b.Send(b.Request("POST", "/race", nil))
					if refused := doing == "set" || doing == "add"; refused != (resp.StatusCode == 401) {
						t.Errorf("got status %d, want 401: %v", resp.StatusCode, refused)
					}
					// No cookie at all: a guest's session would have values of the dead
					// one.
					if len(resp.Cookies()) > 0 {
						t.Errorf("got cookies %v, want none", resp.Cookies())
					}
					want(t, b.Do("GET", "/who"), 200, "")
					if infos, _, err := st.m.List(t.Context(), "alice", ""); err != nil || len(infos) != 0 {
						t.Errorf("got %d live sessions and %v, want none", len(infos), err)
					}
				})
			}
		}
		redistest.NoImmortalKeys(t, st.client, st.prefix)
	})
}

func TestLoginThatAuthenticatedBeforeRevokeUserDies(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		b := st.browser()
		st.on("/slow", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			// The password was checked; now somebody changes it.
			st.revoke(st.m.RevokeUser(context.Background(), "alice"))
			if err := s.Login(r.Context(), "alice", session.LoginOptions{}); !errors.Is(err, session.ErrStaleLogin) {
				t.Errorf("Login: %v, want ErrStaleLogin", err)
			}
		})
		b.Do("POST", "/slow")
		want(t, b.Do("GET", "/who"), 200, "")
		// A user who changes the password in the same request stays logged in.
		st.on("/change", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			st.revoke(st.m.RevokeUser(r.Context(), "alice"))
			st.check(s.Login(r.Context(), "alice", session.LoginOptions{}))
		})
		want(t, b.Do("POST", "/change"), 200, "")
		want(t, b.Do("GET", "/who"), 200, "alice")
		want(t, st.login("alice").Do("GET", "/who"), 200, "alice")
	})
}

func TestCapHoldsUnderParallelLogins(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		for _, policy := range []session.CapPolicy{session.EvictOldest, session.EvictLeastRecent, session.RefuseLogin} {
			st := newSite(t, srv, func(c *settings) { c.Cap, c.CapPolicy = 5, policy })
			var in, refused atomic.Int64
			st.on("/try", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				switch err := s.Login(r.Context(), "alice", session.LoginOptions{}); {
				case err == nil:
					in.Add(1)
				case errors.Is(err, session.ErrCapReached):
					refused.Add(1)
				default:
					t.Errorf("Login: %v", err)
				}
			})
			together(40, func(int) { st.browser().Do("POST", "/try") })
			infos, _, err := st.m.List(t.Context(), "alice", "")
			if err != nil || len(infos) != 5 {
				t.Errorf("policy %d: %d sessions (%v), want 5", policy, len(infos), err)
			}
			wantRefused := int64(0)
			if policy == session.RefuseLogin {
				wantRefused = 35
			}
			if refused.Load() != wantRefused || in.Load() != 40-wantRefused {
				t.Errorf("policy %d: %d in, %d refused", policy, in.Load(), refused.Load())
			}
		}
	})
}
