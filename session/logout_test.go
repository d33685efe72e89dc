package session_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// If the read of a logout failed, the logout ends the session only if the whole token is
// right. The series of the token alone is not enough.
func TestLogoutAfterAFailedRead(t *testing.T) {
	for _, keep := range []bool{false, true} {
		srv, clock := redistest.NewSingleWithClock(t)
		client, counts := srv.Client(t), &trips{}
		client.AddHook(counts)
		st := newSiteOn(t, client, redistest.Prefix(t), func(c *settings) { c.KeepReplayed = keep })
		logout := browsertest.Middleware(st.m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, err := session.From(r.Context())
			if err == nil {
				t.Error("the first read did not fail")
			}
			if err := s.Logout(r.Context()); err != nil {
				st.m.Refuse(w, r, err)
			}
		}))
		b := st.login("alice", "remember=1")
		old := b.Clone()
		clock.Step(25 * time.Hour)
		st.learn()
		want(t, b.Do("GET", "/who"), 200, "alice") // rotates
		want(t, b.Do("GET", "/who"), 200, "alice")
		clock.Step(time.Minute)
		st.learn()
		send := func(token string, fails int64) *http.Response {
			thief := browsertest.NewBrowser(logout)
			thief.SetCookie(cookieName, token)
			counts.failReads.Store(fails)
			defer counts.failReads.Store(0)
			return thief.Do("POST", "/")
		}
		const attempts = 3 // of one read
		if resp := send(b.Cookie(cookieName), 100); resp.StatusCode != 503 || len(resp.Cookies()) > 0 {
			t.Errorf("both reads fail: got %d with cookies %v", resp.StatusCode, resp.Cookies())
		}
		want(t, b.Do("GET", "/who"), 200, "alice")
		want(t, send(old.Cookie(cookieName), attempts), 200, "")
		if keep {
			want(t, b.Do("GET", "/who"), 200, "alice")
			if resp := send(b.Cookie(cookieName), attempts); resp.StatusCode != 200 || len(resp.Cookies()) != 1 {
				t.Errorf("got %d with cookies %v", resp.StatusCode, resp.Cookies())
			}
		} else if !strings.Contains(st.logs.String(), "replaced token") {
			t.Errorf("the log does not tell of the thief:\n%s", st.logs)
		}
		want(t, b.Do("GET", "/who"), 200, "")
	}
}
