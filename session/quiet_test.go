package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// TestIdleAboveAbsolute: such an IdleTimeout would never end a session, so it must be a
// mistake.
func TestIdleAboveAbsolute(t *testing.T) {
	client := redistest.Embedded(t).Client(t)
	for field, cfg := range map[string]session.Options{
		"Lifetime.IdleTimeout": {Lifetime: session.Lifetime{IdleTimeout: 2 * time.Hour, AbsoluteTimeout: time.Hour}},
		"Remember.IdleTimeout": {Remember: session.Lifetime{IdleTimeout: 2 * time.Hour, AbsoluteTimeout: time.Hour}},
	} {
		if _, err := session.New(kvtest.Open(t, client, gatekit.Options{}), cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s above AbsoluteTimeout: got %v, want an error that names it", field, err)
		}
	}
}

// TestForeignBearerHidesNoCookie: a proxy in front may put its own token into the header.
func TestForeignBearerHidesNoCookie(t *testing.T) {
	st := newSite(t, redistest.Embedded(t), func(c *settings) { c.Bearer = true })
	b := st.login("alice")
	for _, foreign := range []string{"x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", ""} {
		r := b.Request("GET", "/who", nil)
		r.Header.Set("Authorization", "Bearer "+foreign)
		want(t, b.Send(r), 200, "alice")
	}
}

// TestReadAfterTheResponse: a logger around the middleware asks for the user after the
// response.
func TestReadAfterTheResponse(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	var s *session.Session
	st.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = st.m.Serve(w, r, func(_ http.ResponseWriter, inner *http.Request) error { r = inner; return nil })
		var err error
		if s, err = session.From(r.Context()); err != nil {
			t.Errorf("From after the response: %v", err)
		}
	})
	b := st.browser()
	b.SetCookie(cookieName, newSiteOn(t, st.client, st.prefix).login("alice").Cookie(cookieName))
	b.Do("GET", "/")
	if s.UserID() != "alice" {
		t.Errorf("got the session of %q, want alice's", s.UserID())
	}
	if err := color.Set(s, "red"); !errors.Is(err, session.ErrTooLate) {
		t.Errorf("a change after the response: %v, want ErrTooLate", err)
	}
}

// TestLostChangesAreLogged: an error that the handler ignores is one line in the log.
func TestLostChangesAreLogged(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		lose   handlerFunc
	}{
		"too late": {"too late", func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			_, _ = io.WriteString(w, "body")
			_, _ = color.Set(s, "red"), color.Set(s, "blue")
		}},
		"too large": {"too large", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			_ = color.Set(s, strings.Repeat("x", 20<<10))
		}},
		"server error": {"SaveOnServerError", func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
			_ = color.Set(s, "red")
			w.WriteHeader(http.StatusInternalServerError)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t, redistest.Embedded(t))
			st.on("/lose", c.lose)
			st.login("alice").Do("POST", "/lose")
			if text := st.logs.String(); strings.Count(text, "changes were not made") != 1 || !strings.Contains(text, c.reason) {
				t.Errorf("got the log %q, want one line with %q", text, c.reason)
			}
		})
	}
}

// TestFlashesThatNobodyShows: they must not fill the session.
func TestFlashesThatNobodyShows(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	b := st.login("alice")
	for i := range 200 {
		st.request(b, func(_ context.Context, s *session.Session) {
			st.check(s.Flash(session.Message{Text: fmt.Sprint(i, strings.Repeat("x", 80))}))
		})
	}
	st.request(b, func(ctx context.Context, s *session.Session) {
		msgs, err := s.Flashes(ctx)
		if err != nil || len(msgs) != 16 || !strings.HasPrefix(msgs[15].Text, "199x") || !strings.HasPrefix(msgs[0].Text, "184x") {
			t.Errorf("got %d messages, %v, want the last 16", len(msgs), err)
		}
	})
}

// readOnly is a hook that answers scripts as a replica does; reads pass.
type readOnly struct{ redis.Hook }

func (readOnly) DialHook(next redis.DialHook) redis.DialHook { return next }
func (readOnly) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (readOnly) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if name := cmd.Name(); name == "eval" || name == "evalsha" {
			err := redisError("READONLY You can't write against a read only replica.")
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

// TestLogWhileOnlyWritesFail: reads work, and must not log with each request that Redis
// works again. Each write waits for its whole budget, since a replica may become the
// master.
func TestLogWhileOnlyWritesFail(t *testing.T) {
	t.Parallel()
	st := newSite(t, redistest.Embedded(t), func(c *settings) { c.Budget = time.Second })
	b := st.login("alice")
	st.client.AddHook(readOnly{})
	for range 5 {
		b.Do("POST", "/add")
		b.Do("GET", "/who")
	}
	if text := st.logs.String(); strings.Count(text, "can't be") != 1 || strings.Contains(text, "written again") {
		t.Errorf("got the log %s, want one line, that sessions can't be written", text)
	}
}
