package session_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// TestHurriedRequest: if the request's own deadline ends a call, that is no outage. The
// error is the context's, the answer is 503, the cookie stays, and Redis is not logged as
// unavailable.
func TestHurriedRequest(t *testing.T) {
	t.Parallel()
	srv := redistest.NewSingle(t)
	proxy := redistest.NewProxy(t, srv.Addrs()[0])
	st := newSiteOn(t, srv.Client(t, redistest.Through(proxy)), redistest.Prefix(t))
	inner := st.handler
	var err error
	st.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/hurried" {
			inner.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), 20*time.Millisecond)
		defer cancel()
		inner.ServeHTTP(w, r.WithContext(ctx))
	})
	b := st.login("alice")
	token := b.Cookie(cookieName)
	st.on("/hurried", func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
		t.Error("a session was read in time")
	})
	st.on("/save", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(color.Set(s, "blue"))
		proxy.DelayReplies(300 * time.Millisecond)
		ctx, cancel := context.WithTimeout(r.Context(), 20*time.Millisecond)
		defer cancel()
		err = s.Save(ctx)
		proxy.DelayReplies(0)
	})
	proxy.DelayReplies(300 * time.Millisecond)
	resp := b.Do("GET", "/hurried")
	proxy.DelayReplies(0)
	if resp.StatusCode != 503 || len(resp.Cookies()) != 0 {
		t.Errorf("read: %d with cookies %v, want 503 and none", resp.StatusCode, resp.Cookies())
	}
	b.Do("POST", "/save")
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, session.ErrUnavailable) {
		t.Errorf("save: %v, want the context's error, and not ErrUnavailable", err)
	}
	want(t, b.Do("GET", "/who"), 200, "alice")
	if b.Cookie(cookieName) != token {
		t.Error("the cookie changed")
	}
	if logs := st.logs.String(); strings.Contains(logs, "can't be read or written") {
		t.Errorf("the log tells of an outage:\n%s", logs)
	}
}
