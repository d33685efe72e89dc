package session_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// withClock runs f on an embedded and on a real server. step moves the server's clock.
// The embedded one's clock stands still otherwise, the real one's also runs by itself.
func withClock(t *testing.T, f func(t *testing.T, srv *redistest.Server, step func(time.Duration))) {
	t.Run("embedded", func(t *testing.T) {
		srv := redistest.Embedded(t)
		now := time.Now()
		srv.Miniredis().SetTime(now)
		f(t, srv, func(d time.Duration) { now = now.Add(d); srv.Miniredis().SetTime(now) })
	})
	t.Run("single", func(t *testing.T) {
		srv, clock := redistest.NewSingleWithClock(t)
		f(t, srv, clock.Step)
	})
}

// learn makes the site's manager ask for the server's time, as all its scripts do.
func (st *site) learn() { st.login("clock") }

func TestRotationGivesOneSuccessorToAll(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		b := st.login("alice", "remember=1")
		first := b.Clone()
		want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		if b.Cookie(cookieName) != first.Cookie(cookieName) {
			t.Fatal("rotated too early")
		}
		step(25 * time.Hour)
		st.learn()
		var mu sync.Mutex
		successors := map[string]bool{}
		together(50, func(int) {
			resp := b.Send(b.Request("GET", "/who", nil))
			want(t, resp, 200, "alice")
			mu.Lock()
			defer mu.Unlock()
			for _, c := range resp.Cookies() {
				successors[c.Value] = true
				if c.MaxAge < int(28*24*time.Hour/time.Second) || c.MaxAge > int(29*24*time.Hour/time.Second) {
					t.Errorf("Max-Age %d is not what is left of 30 days", c.MaxAge)
				}
			}
		})
		if len(successors) != 1 {
			t.Fatalf("50 requests got %d successors, want 1", len(successors))
		}
		for value := range successors {
			b.SetCookie(cookieName, value)
		}
		// Until the successor is used the old token is the current one.
		want(t, first.Clone().Do("GET", "/who"), 200, "alice")
		want(t, b.Do("GET", "/get?k=color"), 200, "red")
		// Now the token is replaced: for a while it can read and write, and nothing else.
		old := first.Clone()
		resp := old.Do("POST", "/set?k=color&v=blue")
		want(t, resp, 200, "")
		if len(resp.Cookies()) > 0 {
			t.Error("a replaced token was given a cookie")
		}
		st.request(first.Clone(), func(ctx context.Context, s *session.Session) {
			if s.Fresh(1000 * time.Hour) {
				t.Error("a replaced token is fresh")
			}
			if err := s.Elevate(ctx, 2); !errors.Is(err, session.ErrConflict) {
				t.Errorf("Elevate with a replaced token: %v, want ErrConflict", err)
			}
			if err := s.Rotate(ctx); !errors.Is(err, session.ErrConflict) {
				t.Errorf("Rotate with a replaced token: %v, want ErrConflict", err)
			}
		})
		want(t, b.Do("GET", "/get?k=color"), 200, "blue")
		step(11 * time.Second)
		// Two parties hold tokens of one session: it ends for both.
		want(t, first.Clone().Do("GET", "/who"), 200, "")
		want(t, b.Do("GET", "/who"), 200, "")
		if !strings.Contains(st.logs.String(), "replaced token") {
			t.Error("a replay is not logged")
		}
	})
}

func TestReplacedTokenLogsOut(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		b := st.login("alice")
		old := b.Clone()
		st.request(b, func(ctx context.Context, s *session.Session) { st.check(s.Rotate(ctx)) })
		want(t, b.Do("GET", "/who"), 200, "alice")
		want(t, old.Do("POST", "/logout"), 200, "")
		want(t, b.Do("GET", "/who"), 200, "")
	})
}

func TestLostRotationLogsNobodyOut(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		b := st.login("alice", "remember=1")
		for range 20 {
			step(25 * time.Hour)
			st.learn()
			// The response is lost, twice, and the browser goes on with what it has.
			want(t, b.Send(b.Request("GET", "/who", nil)), 200, "alice")
			step(15 * time.Second)
			want(t, b.Send(b.Request("GET", "/who", nil)), 200, "alice")
		}
		token := b.Cookie(cookieName)
		want(t, b.Do("GET", "/who"), 200, "alice")
		if b.Cookie(cookieName) == token {
			t.Error("no successor was offered any more")
		}
		want(t, b.Do("GET", "/who"), 200, "alice")
	})
}

// Two tabs, and lost responses around every rotation: no request counts as a thief's.
func TestNoFalseAlarms(t *testing.T) {
	redistest.Long(t)
	srv := redistest.Embedded(t)
	now := time.Now()
	srv.Miniredis().SetTime(now)
	step := func(d time.Duration) { now = now.Add(d); srv.Miniredis().SetTime(now) }
	st := newSite(t, srv, func(c *settings) {
		c.Remember = session.Lifetime{AbsoluteTimeout: 300 * 24 * time.Hour, Rotate: time.Minute, Persistent: true}
	})
	b := st.login("alice", "remember=1")
	rotations, lost, token := 0, 0, b.Cookie(cookieName)
	for i := range 1500 {
		step(time.Duration(rand.Int64N(int64(40 * time.Second))))
		if i%3 == 0 {
			st.learn()
		}
		// Two requests begin with the same cookie; their responses come in any order, or
		// not at all.
		one, two := b.Request("GET", "/who", nil), b.Request("GET", "/who", nil)
		answers := []*http.Response{b.Send(one)}
		if rand.N(2) == 0 {
			step(time.Duration(rand.Int64N(int64(9 * time.Second))))
			answers = append(answers, b.Send(two))
		}
		rand.Shuffle(len(answers), func(i, j int) { answers[i], answers[j] = answers[j], answers[i] })
		for _, resp := range answers {
			want(t, resp, 200, "alice")
			if rand.N(20) == 0 {
				lost++
				continue
			}
			b.Keep(resp)
		}
		if c := b.Cookie(cookieName); c != token {
			rotations, token = rotations+1, c
		}
		if t.Failed() {
			t.Fatalf("logged out after %d rotations", rotations)
		}
	}
	if rotations < 100 || lost < 20 {
		t.Errorf("%d rotations, %d lost responses: too few to prove anything", rotations, lost)
	}
	t.Logf("%d rotations, %d lost responses, 0 false alarms", rotations, lost)
}

func TestStolenTokenIsNoticed(t *testing.T) {
	for _, keep := range []bool{false, true} {
		srv := redistest.Embedded(t)
		now := time.Now()
		srv.Miniredis().SetTime(now)
		step := func(d time.Duration) { now = now.Add(d); srv.Miniredis().SetTime(now) }
		st := newSite(t, srv, func(c *settings) { c.KeepReplayed = keep })
		victim := st.login("alice", "remember=1")
		thief := victim.Clone()
		step(25 * time.Hour)
		st.learn()
		use := func(b *browsertest.Browser) { b.Do("GET", "/who"); b.Do("GET", "/who") }
		use(thief) // takes the successor
		step(time.Hour)
		want(t, victim.Do("GET", "/who"), 200, "") // brings the replaced token
		alive := map[bool]string{false: "", true: "alice"}[keep]
		want(t, thief.Do("GET", "/who"), 200, alive)
	}
}

func TestElevate(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		b := st.login("alice")
		thief := b.Clone()
		check := func(b *browsertest.Browser, level int, fresh bool) {
			t.Helper()
			st.request(b, func(ctx context.Context, s *session.Session) {
				if s.Level() != level || s.Fresh(5*time.Minute) != fresh || s.UserID() != "alice" {
					t.Errorf("user %q, level %d, fresh %v, want level %d, fresh %v", s.UserID(), s.Level(), s.Fresh(5*time.Minute), level, fresh)
				}
			})
		}
		check(b, 1, true)
		step(10 * time.Minute)
		st.learn()
		check(b, 1, false)
		before := b.Cookie(cookieName)
		st.request(b, func(ctx context.Context, s *session.Session) {
			st.check(s.Elevate(ctx, 2))
			if s.Level() != 2 || !s.Fresh(time.Minute) {
				t.Error("the request that elevated does not see it")
			}
			st.check(color.Set(s, "red"))
		})
		if b.Cookie(cookieName) == before {
			t.Error("Elevate kept the token")
		}
		check(thief, 1, false) // the old token gets no successor
		if thief.Cookie(cookieName) != before {
			t.Error("the old token was given the elevated one")
		}
		check(b, 2, true)
		want(t, b.Do("GET", "/get?k=color"), 200, "red")
		check(thief, 1, false) // within the grace time: reads, but is neither elevated nor fresh
		// A double click: two elevations, of which the browser keeps either cookie.
		first := b.Clone()
		r1, r2 := b.Request("POST", "/up", nil), b.Request("POST", "/up", nil)
		st.on("/up", func(w http.ResponseWriter, r *http.Request, s *session.Session) { st.check(s.Elevate(r.Context(), 3)) })
		a1 := b.Send(r1)
		a2 := b.Send(r2)
		b.Keep(a1)
		b.Keep(a2)
		check(b, 3, true)
		_ = first
		step(11 * time.Second)
		want(t, thief.Do("GET", "/who"), 200, "")
	})
}

func TestGuestsAreNotElevated(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	b := st.browser()
	want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
	for _, b := range []*browsertest.Browser{b, st.browser()} {
		st.request(b, func(ctx context.Context, s *session.Session) {
			if s.Elevate(ctx, 2) == nil || s.Fresh(time.Hour) || s.Level() != 0 {
				t.Error("a guest was elevated")
			}
			if _, err := s.RevokeOthers(ctx); err == nil {
				t.Error("a guest has others")
			}
		})
	}
}
