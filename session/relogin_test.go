package session_test

import (
	"net/http"
	"testing"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// devices counts the sessions of alice.
func (st *site) devices() int {
	st.t.Helper()
	infos, _, err := st.m.List(st.t.Context(), "alice", "")
	st.check(err)
	return len(infos)
}

func carriesColor(c *settings) { c.Carry = []string{"color"} }

// The response to a login is lost, or was never sent. The browser still has its session,
// and can log in again with its values. The lost login leaves no device behind.
func TestLoginWhoseAnswerIsLost(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		for name, start := range map[string]func(st *site) *browsertest.Browser{
			"a guest's": func(st *site) *browsertest.Browser { return st.browser() },
			"her own":   func(st *site) *browsertest.Browser { return st.login("alice") },
		} {
			for _, policy := range []session.CapPolicy{session.EvictOldest, session.RefuseLogin} {
				st := newSite(t, srv, carriesColor, func(c *settings) { c.Cap, c.CapPolicy = 1, policy })
				b := start(st)
				want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
				old := b.Clone()
				for range 7 { // more than the script remembers
					want(t, b.Send(b.Request("POST", "/login?user=alice", nil)), 200, "")
				}
				want(t, b.Do("GET", "/get?k=color"), 200, "red")
				want(t, b.Do("POST", "/login?user=alice"), 200, "")
				want(t, b.Do("GET", "/get?k=color"), 200, "red")
				want(t, b.Do("GET", "/who"), 200, "alice")
				if n := st.devices(); n != 1 {
					t.Errorf("%s, policy %d: %d devices, want 1", name, policy, n)
				}
				want(t, old.Do("GET", "/get?k=color"), 200, "(none)")
				if resp := old.Do("POST", "/set?k=color&v=zombie"); resp.StatusCode == 200 || len(resp.Cookies()) > 0 {
					t.Errorf("%s: the old session takes a change: %d, cookies %v", name, resp.StatusCode, resp.Cookies())
				}
				if n := len(st.keys("n")); n != 0 {
					t.Errorf("%s: %d lists of logins are left", name, n)
				}
				redistest.NoImmortalKeys(t, st.client, st.prefix)
			}
		}
	})
}

// Two logins of a double click are under way, and their answers come in any order: the
// one that the browser keeps works, and is the only device.
func TestAnswersOfTwoLoginsInAnyOrder(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		for last := range 2 {
			st := newSite(t, srv, carriesColor)
			b := st.browser()
			want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
			r := []*http.Request{b.Request("POST", "/login?user=alice", nil), b.Request("POST", "/login?user=alice", nil)}
			answers := []*http.Response{b.Send(r[0]), b.Send(r[1])}
			b.Keep(answers[1-last])
			b.Keep(answers[last])
			want(t, b.Do("GET", "/get?k=color"), 200, "red")
			want(t, b.Do("GET", "/who"), 200, "alice")
			if n := st.devices(); n != 1 {
				t.Errorf("%d devices, want 1", n)
			}
		}
	})
}

// A browser that keeps the cookie of old attributes sends both, and the login counts.
func TestLoginBesideTheSessionItReplaced(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		for _, order := range []int{0, 1} {
			old := st.login("alice").Cookie(cookieName)
			tokens := []string{old, st.brings("POST", "/login?user=alice", old).Cookies()[0].Value}
			want(t, st.brings("GET", "/who", tokens[order], tokens[1-order]), 200, "alice")
			want(t, st.brings("GET", "/who", old), 200, "")
		}
	})
}

// A login ends another user's session within the request. A login and a logout in one
// request leave no session behind.
func TestWhatALoginEndsWithinItsRequest(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		st.on("/in-and-out", func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
			st.check(s.Login(r.Context(), "alice", session.LoginOptions{}))
			st.check(s.Logout(r.Context()))
		})
		st.on("/twice", func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
			st.check(s.Login(r.Context(), "alice", session.LoginOptions{}))
			st.check(s.Login(r.Context(), "bob", session.LoginOptions{}))
		})
		for _, path := range []string{"/login?user=bob", "/in-and-out", "/twice"} {
			t.Run(path, func(t *testing.T) {
				b := st.login("alice")
				old := b.Clone()
				want(t, b.Do("POST", path), 200, "")
				want(t, old.Do("GET", "/who"), 200, "")
				if n := st.devices(); n != 0 {
					t.Errorf("%d sessions of alice, want none", n)
				}
			})
		}
	})
}

// After a login that was undone, the session that its handler still holds is the one that
// the request came with, values included.
func TestUndoneLoginGivesTheSessionBack(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		b := st.login("alice")
		want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		var id string
		var kept *session.Session
		st.on("/panics", func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
			kept, id = s, s.ID()
			st.check(s.Login(r.Context(), "bob", session.LoginOptions{}))
			st.check(s.Login(r.Context(), "carol", session.LoginOptions{}))
			if s.UserID() != "carol" {
				t.Errorf("user %q after the login, want carol", s.UserID())
			}
			panic("on purpose")
		})
		func() {
			defer func() { _ = recover() }()
			b.Do("POST", "/panics")
		}()
		c, err := color.Get(kept)
		if err != nil || c != "red" || kept.UserID() != "alice" || kept.ID() != id {
			t.Errorf("undone, the session is of %q with color %q (%v), want alice's own with red", kept.UserID(), c, err)
		}
		want(t, b.Do("GET", "/get?k=color"), 200, "red")
	})
}
