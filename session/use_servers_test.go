package session_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// The operations that count as use do so on every deployment, by the clocks of real
// servers. See TestUseDuringARequest for a clock that the test sets.
func TestUseCountsOnEveryServer(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	each(t, func(t *testing.T, srv *redistest.Server) {
		for idle := 2 * time.Second; idle < time.Minute; idle *= 2 {
			if usesCount(t, srv, idle) {
				return
			}
			t.Logf("the machine kept a session unused for too long of %v: again, with twice that", idle)
		}
		t.Fatal("the machine keeps sessions unused for 16 s")
	})
}

// usesCount reports false if the machine was so slow that sessions ended which were about
// to be used.
func usesCount(t *testing.T, srv *redistest.Server, idle time.Duration) bool {
	const every = 150 * time.Millisecond
	last := idle + time.Second
	st := newSite(t, srv, func(c *settings) {
		c.Lifetime = session.Lifetime{IdleTimeout: idle, AbsoluteTimeout: time.Hour}
	})
	var longest atomic.Int64 // that a session was not used
	repeat := func(f func()) {
		for start, used := time.Now(), time.Now(); time.Since(start) < last; time.Sleep(every) {
			f()
			if unused := int64(time.Since(used)); unused > longest.Load() {
				longest.Store(unused)
			}
			used = time.Now()
		}
	}
	var all sync.WaitGroup
	users := map[string]func() string{}
	for user, use := range map[string]func(ctx context.Context, s *session.Session) error{
		"nothing": func(context.Context, *session.Session) error { return nil },
		"save":    func(ctx context.Context, s *session.Session) error { return s.Save(ctx) },
		"change":  func(ctx context.Context, s *session.Session) error { return errors.Join(hits.Add(s, 1), s.Save(ctx)) },
		"reload":  func(ctx context.Context, s *session.Session) error { return s.Reload(ctx) },
		"touch":   func(ctx context.Context, s *session.Session) error { return s.Touch(ctx) },
		"update": func(ctx context.Context, s *session.Session) error {
			_, err := color.Update(ctx, s, func(c string) (string, error) { return c + "x", nil })
			return err
		},
		"upload": nil,
	} {
		b := st.login(user)
		users[user] = func() string { return body(b.Do("GET", "/who")) }
		path, content := "/long/"+user, io.Reader(http.NoBody)
		if use == nil {
			r, w := io.Pipe()
			content = r
			all.Go(func() {
				repeat(func() { _, _ = w.Write([]byte("x")) })
				_ = w.Close()
			})
		}
		st.on(path, func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
			if use == nil {
				_, err := io.Copy(io.Discard, r.Body)
				st.check(err)
				return
			}
			repeat(func() {
				if err := use(r.Context(), s); err != nil && longest.Load() < int64(idle/2) {
					t.Errorf("%s: %v", user, err)
				}
			})
		})
		all.Go(func() { _ = body(b.Send(b.Request("POST", path, content))) })
	}
	all.Wait()
	ended, seen := time.Now(), map[string]string{}
	for user, who := range users {
		seen[user] = who()
	}
	if longest.Load() > int64(idle/2) || time.Since(ended) > idle/2 {
		return false
	}
	for user, got := range seen {
		if want := map[bool]string{true: "", false: user}[user == "nothing"]; got != want {
			t.Errorf("after %s the browser is %q, want %q", user, got, want)
		}
	}
	return true
}

// The second use of a guest raises its idle timeout on every deployment. The first
// request does not, because it is not known yet whether the cookie comes back.
func TestSecondUseOfAGuestOnEveryServer(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		const trial, idle = 10 * time.Minute, 7 * day
		for _, second := range []string{"/who", "/touch", "/get?k=color"} {
			st := newSite(t, srv, func(c *settings) {
				c.Guest = session.Lifetime{IdleTimeout: idle, AbsoluteTimeout: 30 * day}
			})
			left := func() time.Duration {
				t.Helper()
				keys := st.keys("s")
				if len(keys) != 1 {
					t.Fatalf("records %q, want one", keys)
				}
				return st.client.PTTL(t.Context(), keys[0]).Val()
			}
			st.on("/busy", func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
				st.check(errors.Join(color.Set(s, "red"), s.Save(r.Context()), s.Reload(r.Context()), s.Touch(r.Context())))
			})
			st.on("/touch", func(_ http.ResponseWriter, r *http.Request, s *session.Session) { st.check(s.Touch(r.Context())) })
			b := st.browser()
			want(t, b.Do("POST", "/busy"), 200, "")
			if d := left(); d > trial+time.Minute {
				t.Errorf("after the request that made it, the guest has %v left, want 10 min", d)
			}
			_ = body(b.Do("GET", second))
			if d := left(); d < idle-time.Hour {
				t.Errorf("after %s the guest has %v left, want 7 days", second, d)
			}
		}
	})
}
