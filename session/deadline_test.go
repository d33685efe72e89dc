package session_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

func TestDeadlines(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		idle, busy := st.login("alice"), st.login("bob")
		for i := range 24 { // 11 h 36 min
			step(29 * time.Minute)
			st.learn() // in production the clocks of both sides move
			want(t, busy.Do("GET", "/who"), 200, "bob")
			if i == 10 { // a step back makes no session live longer
				step(-time.Hour)
				st.learn()
				want(t, busy.Do("GET", "/who"), 200, "bob")
			}
		}
		want(t, idle.Do("GET", "/who"), 200, "")
		step(25 * time.Minute)
		st.learn()
		want(t, busy.Do("GET", "/who"), 200, "")
		redistest.NoImmortalKeys(t, st.client, st.prefix)
		for _, user := range []string{"alice", "bob"} {
			if infos, _, err := st.m.List(t.Context(), user, ""); err != nil || len(infos) != 0 {
				t.Errorf("%s: %d sessions listed (%v), want 0", user, len(infos), err)
			}
		}
	})
}

// A request that is under way when the absolute deadline passes must not store the
// session without an end.
func TestDeadlinePassesDuringTheRequest(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		b := st.login("alice")
		st.on("/slow", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			step(13 * time.Hour)
			st.check(color.Set(s, "zombie"))
		})
		if resp := b.Do("POST", "/slow"); resp.StatusCode != 401 {
			t.Errorf("got %d, want 401", resp.StatusCode)
		}
		want(t, b.Do("GET", "/who"), 200, "")
		redistest.NoImmortalKeys(t, st.client, st.prefix)
	})
}

func TestLifetimeOverrides(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		b := st.browser()
		st.on("/in", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			st.check(s.Login(r.Context(), "alice", session.LoginOptions{Lifetime: session.AAL3}))
			if left := time.Until(s.Expires()); left > 16*time.Minute || left < 14*time.Minute {
				t.Errorf("expires in %v, want 15m", left)
			}
		})
		resp := b.Do("POST", "/in")
		if c := resp.Cookies()[0]; c.MaxAge != 0 {
			t.Errorf("Max-Age %d of a cookie that ends with the browser", c.MaxAge)
		}
		step(14 * time.Minute)
		want(t, b.Do("GET", "/who"), 200, "alice")
		step(16 * time.Minute)
		want(t, b.Do("GET", "/who"), 200, "")
	})
}

// A host with a wrong clock judges deadlines like all other hosts: it asks Redis when in
// doubt.
func TestServerClockIsFarOff(t *testing.T) {
	for _, off := range []time.Duration{-10 * time.Hour, -10 * time.Minute, 10 * time.Minute, 10 * time.Hour} {
		srv := redistest.Embedded(t)
		now := time.Now().Add(off)
		srv.Miniredis().SetTime(now)
		st := newSite(t, srv)
		b := st.login("alice")
		for range 5 {
			now = now.Add(25 * time.Minute)
			srv.Miniredis().SetTime(now)
			fresh := newSiteOn(t, st.client, st.prefix) // another process that knows nothing yet
			c := browsertest.NewBrowser(fresh.handler)
			c.SetCookie(cookieName, b.Cookie(cookieName))
			want(t, c.Do("GET", "/who"), 200, "alice")
		}
		now = now.Add(31 * time.Minute)
		srv.Miniredis().SetTime(now)
		fresh := newSiteOn(t, st.client, st.prefix)
		c := browsertest.NewBrowser(fresh.handler)
		c.SetCookie(cookieName, b.Cookie(cookieName))
		want(t, c.Do("GET", "/who"), 200, "")
		want(t, b.Do("GET", "/who"), 200, "")
	}
}
