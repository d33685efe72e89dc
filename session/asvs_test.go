package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// These tests check the claims of SECURITY.md about the session chapter of OWASP's ASVS
// 5.0 that no other test checks.

// 7.1.1: the predefined lifetimes are within the limits of NIST SP 800-63B-4, and
// sessions end in time.
func TestPresetsAreWithinNIST(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name           string
		life           session.Lifetime // zero is the default
		idle, absolute time.Duration    // at most
	}{
		{"default", session.Lifetime{}, 30 * time.Minute, 12 * time.Hour},
		{"AAL1", session.AAL1, 30 * day, 30 * day},
		{"AAL2", session.AAL2, time.Hour, day},
		{"AAL3", session.AAL3, 15 * time.Minute, 12 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.life.IdleTimeout > c.idle || c.life.AbsoluteTimeout > c.absolute {
				t.Errorf("idle %v, absolute %v, want at most %v, %v", c.life.IdleTimeout, c.life.AbsoluteTimeout, c.idle, c.absolute)
			}
			srv := redistest.Embedded(t)
			now := time.Now()
			step := func(d time.Duration) { now = now.Add(d); srv.Miniredis().SetTime(now) }
			step(0)
			st := newSite(t, srv)
			login := func() *browsertest.Browser {
				b := st.browser()
				st.request(b, func(ctx context.Context, s *session.Session) {
					st.check(s.Login(ctx, "alice", session.LoginOptions{Lifetime: c.life}))
				})
				return b
			}
			unused, used := login(), login()
			for spent := time.Duration(0); spent+c.idle*9/10 < c.absolute; spent += c.idle * 9 / 10 {
				step(c.idle * 9 / 10)
				st.learn()
				want(t, used.Do("GET", "/who"), 200, "alice")
				if spent > c.idle {
					want(t, unused.Do("GET", "/who"), 200, "")
				}
			}
			step(c.idle*9/10 + time.Second)
			st.learn()
			want(t, used.Do("GET", "/who"), 200, "")
			want(t, unused.Do("GET", "/who"), 200, "")
		})
	}
}

// 7.1.2: by default each user has at most 10 sessions, and a further login ends the
// oldest.
func TestCapByDefault(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		var browsers []*browsertest.Browser
		for range 12 {
			browsers = append(browsers, st.login("alice"))
			time.Sleep(2 * time.Millisecond) // the order of sessions is known to the millisecond
		}
		other := st.login("bob")
		for i, b := range browsers {
			user := "alice"
			if i < 2 {
				user = ""
			}
			want(t, b.Do("GET", "/who"), 200, user)
		}
		want(t, other.Do("GET", "/who"), 200, "bob")
		if infos, _, err := st.m.List(t.Context(), "alice", ""); err != nil || len(infos) != 10 {
			t.Errorf("%d sessions (%v), want 10", len(infos), err)
		}
	})
}

// 7.1.3, 7.6.1: a session from an identity provider has the time at which the user logged
// in there, and ends when the provider's assertion ends. If the provider logs a session
// out (back-channel logout), only that session ends.
func TestIdentityProviderLimitsTheSession(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		byProvider := map[string]string{} // session of the provider -> public id of ours
		enter := func(sid string) *browsertest.Browser {
			b := st.browser()
			st.request(b, func(ctx context.Context, s *session.Session) {
				st.check(s.Login(ctx, "alice", session.LoginOptions{
					Lifetime: session.Lifetime{AbsoluteTimeout: time.Hour}, AuthenticatedAt: time.Now().Add(-20 * time.Minute),
				}))
				byProvider[sid] = s.ID()
			})
			st.request(b, func(ctx context.Context, s *session.Session) {
				if s.Fresh(19*time.Minute) || !s.Fresh(21*time.Minute) {
					t.Errorf("authenticated %v ago, want 20m", time.Since(s.AuthTime()))
				}
			})
			return b
		}
		one, two := enter("one"), enter("two")
		st.check(st.m.Revoke(t.Context(), "alice", byProvider["one"]))
		want(t, one.Do("POST", "/set?k=color&v=zombie"), 409, "") // as a guest: it is over
		want(t, two.Do("GET", "/who"), 200, "alice")
		for range 2 {
			step(29 * time.Minute)
			st.learn()
			want(t, two.Do("GET", "/who"), 200, "alice")
		}
		step(3 * time.Minute)
		st.learn()
		want(t, two.Do("GET", "/who"), 200, "")
	})
}

// 7.2.1, 7.2.3: every part of a token is random, and a token that differs in any place
// has no session.
func TestForgedTokensAreNobodys(t *testing.T) {
	st := newSite(t, redistest.Embedded(t), func(c *settings) { c.KeepReplayed, c.Cap = true, -1 })
	b := st.login("alice")
	token := b.Cookie(cookieName)
	for i := range token {
		forged := st.browser()
		other := "A"
		if token[i] == 'A' {
			other = "B"
		}
		forged.SetCookie(cookieName, token[:i]+other+token[i+1:])
		resp := forged.Do("GET", "/who")
		if len(resp.Cookies()) > 0 {
			t.Errorf("position %d: a forged token was answered with a cookie", i)
		}
		want(t, resp, 200, "")
	}
	want(t, b.Do("GET", "/who"), 200, "alice")

	const n, alphabet = 400, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	seen := map[string]bool{}
	ones := make([][6]int, len(token))
	for range n {
		text := st.login("alice").Cookie(cookieName)
		if seen[text[3:25]] || seen[text[25:]] {
			t.Fatal("a part of a token came twice")
		}
		seen[text[3:25]], seen[text[25:]] = true, true
		for i, c := range text {
			for bit := range 6 {
				ones[i][bit] += strings.IndexRune(alphabet, c) >> bit & 1
			}
		}
	}
	random := 0
	for _, position := range ones {
		for _, count := range position {
			if count > n/3 && count < 2*n/3 {
				random++
			}
		}
	}
	if random < (16+32)*8 {
		t.Errorf("%d bits of a token are random, want %d", random, (16+32)*8)
	}
}

// 7.4.3: a change of password ends all other sessions of the user, and logins with the
// old password that are under way.
func TestPasswordChangeEndsOtherSessions(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		own, thief, remembered := st.login("alice"), st.login("alice"), st.login("alice", "remember=1")
		// The old password was right when this login began.
		st.on("/slow", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			st.request(own, func(ctx context.Context, s *session.Session) { // here it changes
				if n, err := s.RevokeOthers(ctx); n != 2 || err != nil {
					t.Errorf("RevokeOthers: %d, %v, want 2", n, err)
				}
				st.check(s.Elevate(ctx, 2)) // and the own token as well
			})
			if err := s.Login(r.Context(), "alice", session.LoginOptions{}); !errors.Is(err, session.ErrStaleLogin) {
				t.Errorf("Login: %v, want ErrStaleLogin", err)
			}
		})
		late, stolen := st.browser(), own.Clone()
		late.Do("POST", "/slow")
		for _, b := range []*browsertest.Browser{thief, remembered, late} {
			want(t, b.Do("GET", "/who"), 200, "")
		}
		want(t, own.Do("GET", "/who"), 200, "alice")
		st.request(stolen, func(_ context.Context, s *session.Session) {
			if s.Fresh(time.Hour) {
				t.Error("a copy of the token from before is fresh, too")
			}
		})
		want(t, st.login("alice").Do("GET", "/who"), 200, "alice")
	})
}

// 7.5.2: users see their sessions, and can end each of them after they have proved again
// who they are.
func TestDevicesAreEndedAfterProvingIdentity(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		st.on("/end", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			if !s.Fresh(5 * time.Minute) {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			if err := st.m.Revoke(r.Context(), s.UserID(), r.URL.Query().Get("id")); err != nil {
				st.m.Refuse(w, r, err)
			}
		})
		phone, laptop, stranger := st.login("alice"), st.login("alice"), st.login("mallory")
		step(10 * time.Minute)
		st.learn()
		var id string
		st.request(laptop, func(ctx context.Context, s *session.Session) {
			infos, _, err := st.m.List(ctx, s.UserID(), "")
			st.check(err)
			for _, i := range infos {
				if !i.Current {
					id = i.ID
				}
			}
			if len(infos) != 2 || id == "" {
				t.Fatalf("got %+v, want two sessions, of which one is another's", infos)
			}
		})
		want(t, laptop.Do("POST", "/end?id="+id), 403, "")
		for _, b := range []*browsertest.Browser{laptop, stranger} {
			st.request(b, func(ctx context.Context, s *session.Session) { st.check(s.Elevate(ctx, 2)) })
		}
		if resp := stranger.Do("POST", "/end?id="+id); resp.StatusCode == 200 {
			t.Error("a stranger ended alice's session")
		}
		want(t, phone.Do("GET", "/who"), 200, "alice")
		want(t, laptop.Do("POST", "/end?id="+id), 200, "")
		want(t, phone.Do("GET", "/who"), 200, "")
		want(t, laptop.Do("GET", "/who"), 200, "alice")
	})
}

// With the ACL rule of SECURITY.md all operations of sessions work, events included.
func TestSessionsUnderTheACLRule(t *testing.T) {
	security, err := os.ReadFile("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	rule := regexp.MustCompile(`(?m)^ +user gatekit (on .*)$`).FindSubmatch(security)
	if rule == nil {
		t.Fatal("SECURITY.md has no ACL rule")
	}
	srv := redistest.NewSingle(t)
	admin := srv.Client(t)
	setUser := []any{"ACL", "SETUSER", "gatekit"}
	for _, word := range strings.Fields(string(rule[1])) {
		setUser = append(setUser, word)
	}
	if err := admin.Do(t.Context(), setUser...).Err(); err != nil {
		t.Fatal(err)
	}
	// The client sends this command to each server; servers know it from 7.2 on.
	_ = admin.Do(t.Context(), "ACL", "SETUSER", "gatekit", "+client|setinfo").Err()
	st := newSiteOn(t, srv.Client(t, func(o *redis.UniversalOptions) { o.Username, o.Password = "gatekit", "PASSWORD" }), "gk",
		func(c *settings) { c.Cap = 2 })

	var mu sync.Mutex
	kinds := map[session.EventKind]bool{}
	watching := make(chan struct{})
	var watch sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	watch.Go(func() {
		_ = st.m.Watch(ctx, func(e session.Event) {
			mu.Lock()
			defer mu.Unlock()
			if !kinds[e.Kind] && e.Kind == session.Missed {
				close(watching)
			}
			kinds[e.Kind] = true
		})
	})
	defer watch.Wait()
	defer stop()
	select {
	case <-watching:
	case <-time.After(time.Minute):
		t.Fatal("not allowed to subscribe")
	}

	guest := st.browser()
	want(t, guest.Do("POST", "/set?k=color&v=red"), 200, "")
	want(t, guest.Do("POST", "/login?user=alice&remember=1"), 200, "")
	first := guest.Clone()
	st.request(guest, func(ctx context.Context, s *session.Session) {
		st.check(hits.Add(s, 1))
		st.check(color.Delete(s))
		st.check(s.Flash(session.Message{Text: "hello"}))
		st.check(s.Rotate(ctx))
	})
	st.request(guest, func(ctx context.Context, s *session.Session) {
		_, err := s.Flashes(ctx)
		st.check(err)
		_, _, err = color.SetNX(ctx, s, "blue")
		st.check(err)
		_, err = color.Update(ctx, s, func(string) (string, error) { return "green", nil })
		st.check(err)
		_, _, err = color.Pop(ctx, s)
		st.check(err)
		st.check(s.Elevate(ctx, 2))
	})
	want(t, guest.Do("GET", "/who"), 200, "alice")
	want(t, first.Do("GET", "/who"), 200, "") // two tokens ago: a replay, which ends the session
	var devices []*browsertest.Browser
	for range 3 {
		time.Sleep(2 * time.Millisecond) // the order of sessions is known to the millisecond
		devices = append(devices, st.login("alice"))
	}
	one, two, three := devices[0], devices[1], devices[2]
	want(t, one.Do("GET", "/who"), 200, "") // evicted
	want(t, two.Do("POST", "/login?user=alice"), 200, "")
	st.request(three, func(ctx context.Context, s *session.Session) {
		infos, _, err := st.m.List(ctx, "alice", "")
		st.check(err)
		for _, i := range infos {
			if !i.Current {
				st.check(st.m.Revoke(ctx, "alice", i.ID))
			}
		}
		_, err = s.RevokeOthers(ctx)
		st.check(err)
		st.check(s.Logout(ctx))
	})
	st.revoke(st.m.RevokeUser(t.Context(), "alice"))
	st.check(st.m.RevokeAll(t.Context()))
	fresh := newSiteOn(t, st.client, "gk") // another process, which asks for the epoch and touches
	b := fresh.login("alice")
	want(t, b.Do("GET", "/who"), 200, "alice")

	deadline := time.Now().Add(time.Minute)
	missing := func() (names []string) {
		mu.Lock()
		defer mu.Unlock()
		for kind := session.Missed; kind <= session.Replayed; kind++ {
			if !kinds[kind] {
				names = append(names, kind.String())
			}
		}
		return names
	}
	for len(missing()) > 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if names := missing(); len(names) > 0 {
		t.Errorf("no events of the kinds %v came", names)
	}
	// The server's log of denied commands also has those whose error a script or the
	// client ignores.
	denied, err := admin.Do(t.Context(), "ACL", "LOG").Slice()
	if err != nil || len(denied) > 0 {
		t.Errorf("denied: %v, %v", denied, err)
	}
	for _, forbidden := range [][]any{
		{"KEYS", "*"}, {"FLUSHALL"}, {"CONFIG", "GET", "*"}, {"SET", "other", "1"}, {"PUBLISH", "other", "1"},
		{"EVAL", "return redis.call('GET', KEYS[1])", "1", "other"},
	} {
		t.Run(fmt.Sprint(forbidden), func(t *testing.T) {
			if err := st.client.Do(t.Context(), forbidden...).Err(); err == nil || !strings.Contains(strings.ToLower(fmt.Sprint(err)), "perm") {
				t.Errorf("%v: %v, want it denied", forbidden, err)
			}
		})
	}
}
