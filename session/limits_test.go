package session_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

func TestCommitGone(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		for _, c := range []struct {
			name   string
			b      *browsertest.Browser
			status int
		}{
			{"login", st.login("alice"), 401},
			{"guest", st.browser(), 409},
		} {
			if c.name == "guest" {
				want(t, c.b.Do("POST", "/set?k=color&v=red"), 200, "")
			}
			token := c.b.Cookie(cookieName)
			before := len(st.keys("s"))
			st.on("/d", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				st.check(color.Set(s, "blue"))
				want(t, c.b.Clone().Do("POST", "/logout"), 200, "")
			})
			resp := c.b.Do("POST", "/d")
			if resp.StatusCode != c.status || len(resp.Cookies()) > 0 || c.b.Cookie(cookieName) != token {
				t.Errorf("%s: got %d with cookies %v, want %d and none", c.name, resp.StatusCode, resp.Cookies(), c.status)
			}
			if after := len(st.keys("s")); after > before {
				t.Errorf("%s: a logged out session came back: %d records, %d before", c.name, after, before)
			}
		}
	})
}

func TestTooLarge(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv, func(c *settings) { c.MaxBytes = 1000 })
		for _, b := range []*browsertest.Browser{st.browser(), st.login("alice")} {
			want(t, b.Do("POST", "/set?k=a&v="+strings.Repeat("x", 700)), 200, "")
			st.request(b, func(ctx context.Context, s *session.Session) {
				big := strings.Repeat("y", 400)
				_, err := color.Update(ctx, s, func(string) (string, error) { return big, nil })
				_, _, err2 := color.SetNX(ctx, s, big)
				for name, err := range map[string]error{"Set": color.Set(s, big), "Update": err, "SetNX": err2} {
					t.Run(name, func(t *testing.T) {
						if !errors.Is(err, session.ErrTooLarge) || !strings.Contains(err.Error(), `"color"`) || strings.Contains(err.Error(), "yyy") {
							t.Errorf("error %v, want ErrTooLarge with the name", err)
						}
					})
				}
				st.check(session.NewKey[string]("a").Set(s, "small"))
				st.check(color.Set(s, big)) // there is room now
			})
			resp := b.Do("POST", "/set?k=b&v="+strings.Repeat("z", 900))
			if resp.StatusCode != 413 {
				t.Errorf("got %d, want 413", resp.StatusCode)
			}
			want(t, b.Do("GET", "/get?k=a"), 200, "small")
		}
	})
}

func TestUndecodableIsAnErrorAndNotAbsent(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		b := st.browser()
		want(t, b.Do("POST", "/set?k=cart&v=nolist"), 200, "")
		want(t, b.Do("POST", "/set?k=hits&v=nonumber"), 200, "")
		other, same := st.elsewhere(b)
		other.request(same, func(ctx context.Context, s *session.Session) {
			if _, ok, err := cart.Lookup(s); err == nil || ok {
				t.Errorf("Lookup: %v, %v, want an error", ok, err)
			}
			if _, err := hits.Get(s); err == nil {
				t.Error("Counter.Get: no error")
			}
			if err := hits.Add(s, 1); err == nil {
				t.Error("Counter.Add: no error")
			}
			_, err := cart.Update(ctx, s, func(l []string) ([]string, error) { return []string{"destroyed"}, nil })
			if err == nil {
				t.Error("Update: no error")
			}
		})
		want(t, b.Do("GET", "/get?k=cart"), 200, "nolist")
	})
}

func TestNoMiddleware(t *testing.T) {
	s, err := session.From(context.Background())
	if !errors.Is(err, session.ErrNoMiddleware) || s == nil {
		t.Fatalf("got %v, %v", s, err)
	}
	ctx := context.Background()
	_, _, err1 := color.Lookup(s)
	_, _, err2 := color.Pop(ctx, s)
	_, _, err3 := color.SetNX(ctx, s, "x")
	_, err4 := color.Update(ctx, s, func(s string) (string, error) { return s, nil })
	_, err5 := hits.Get(s)
	_, err6 := s.Flashes(ctx)
	_, err7 := s.RevokeOthers(ctx)
	for name, err := range map[string]error{
		"Lookup": err1, "Pop": err2, "SetNX": err3, "Update": err4, "Counter.Get": err5, "Flashes": err6, "RevokeOthers": err7,
		"Set": color.Set(s, "x"), "Delete": color.Delete(s), "Counter.Add": hits.Add(s, 1), "Clear": s.Clear(),
		"Login": s.Login(ctx, "alice", session.LoginOptions{}), "Elevate": s.Elevate(ctx, 2), "Rotate": s.Rotate(ctx),
		"Logout": s.Logout(ctx), "Flash": s.Flash(session.Message{}), "Save": s.Save(ctx), "Reload": s.Reload(ctx),
	} {
		t.Run(name, func(t *testing.T) {
			if !errors.Is(err, session.ErrNoMiddleware) {
				t.Errorf("%s: error %v, want ErrNoMiddleware", name, err)
			}
		})
	}
	if s.ID() != "" || s.UserID() != "" || !s.AuthTime().IsZero() || s.Level() != 0 || s.Fresh(time.Hour) || !s.Expires().IsZero() || s.BearerToken() != "" {
		t.Error("the empty session is not empty")
	}
	if !errors.Is(session.ErrUnavailable, gatekit.ErrUnavailable) {
		t.Error("ErrUnavailable is not the root's")
	}
}
