package session_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// uploading is a body that gives one byte with every step.
type uploading struct {
	left int
	step func()
}

func (u *uploading) Read(p []byte) (int, error) {
	if u.left == 0 {
		return 0, io.EOF
	}
	u.left--
	u.step()
	return copy(p, "x"), nil
}

// The operations of a long request on its session count as use, so the session does not
// end at IdleTimeout meanwhile.
func TestUseDuringARequest(t *testing.T) {
	const steps = 9 // of a third of IdleTimeout
	for _, c := range []struct {
		name string
		use  func(ctx context.Context, s *session.Session) error
		ends bool
	}{
		{"nothing", func(context.Context, *session.Session) error { return nil }, true},
		{"Save of a change", func(ctx context.Context, s *session.Session) error {
			return errors.Join(hits.Add(s, 1), s.Save(ctx))
		}, false},
		{"Save", func(ctx context.Context, s *session.Session) error { return s.Save(ctx) }, false},
		{"Update", func(ctx context.Context, s *session.Session) error {
			_, err := color.Update(ctx, s, func(c string) (string, error) { return c + "x", nil })
			return err
		}, false},
		{"Reload", func(ctx context.Context, s *session.Session) error { return s.Reload(ctx) }, false},
		{"Touch", func(ctx context.Context, s *session.Session) error { return s.Touch(ctx) }, false},
		{"an upload", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := redistest.Embedded(t)
			now := time.Now()
			srv.Miniredis().SetTime(now)
			st := newSite(t, srv)
			alice, other := st.login("alice"), st.login("bob")
			step := func() {
				now = now.Add(10 * time.Minute)
				srv.Miniredis().SetTime(now)
				// The manager learns the time by the reply.
				want(t, other.Do("POST", "/set?k=color&v=x"), 200, "")
			}
			st.on("/long", func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
				if c.use == nil {
					_, err := io.Copy(io.Discard, r.Body)
					st.check(err)
					st.check(color.Set(s, "red"))
					return
				}
				for range steps {
					step()
					if err := c.use(r.Context(), s); err != nil {
						t.Errorf("got %v", err)
					}
				}
			})
			body := io.Reader(&bytes.Buffer{})
			if c.use == nil {
				body = &uploading{steps, step}
			}
			want(t, alice.Send(alice.Request("POST", "/long", body)), 200, "")
			user := "alice"
			if c.ends {
				user = ""
			}
			want(t, alice.Do("GET", "/who"), 200, user)
		})
	}
}

func TestTouch(t *testing.T) {
	srv := redistest.Embedded(t)
	now := time.Now()
	srv.Miniredis().SetTime(now)
	st := newSite(t, srv)
	b, other := st.login("alice"), st.login("bob")
	var kept *session.Session
	st.request(b, func(ctx context.Context, s *session.Session) {
		kept = s
		before := srv.Miniredis().CommandCount()
		for range 100 {
			st.check(s.Touch(ctx))
		}
		if n := srv.Miniredis().CommandCount() - before; n != 0 {
			t.Errorf("100 touches at once took %d commands, want none: nothing is due", n)
		}
		want(t, b.Clone().Do("POST", "/logout"), 200, "")
		now = now.Add(5 * time.Minute)
		srv.Miniredis().SetTime(now)
		want(t, other.Do("POST", "/add"), 200, "")
		for range 2 {
			if err := s.Touch(ctx); !errors.Is(err, session.ErrGone) {
				t.Errorf("after a logout elsewhere: %v, want ErrGone", err)
			}
		}
	})
	if err := kept.Touch(t.Context()); !errors.Is(err, session.ErrTooLate) && !errors.Is(err, session.ErrGone) {
		t.Errorf("after the handler: %v, want an error", err)
	}
	st.request(other, func(ctx context.Context, s *session.Session) { kept = s; st.check(s.Touch(ctx)) })
	if err := kept.Touch(t.Context()); !errors.Is(err, session.ErrTooLate) {
		t.Errorf("after the handler, of a session that lives: %v, want ErrTooLate", err)
	}
	st.request(st.browser(), func(ctx context.Context, s *session.Session) { st.check(s.Touch(ctx)) })
}
