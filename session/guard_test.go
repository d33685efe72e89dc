package session_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gatekit/gatekit/lua/luatest"
	"github.com/gatekit/gatekit/session"
	"github.com/gatekit/gatekit/session/sessiontest"
)

func TestRefusalOfErrors(t *testing.T) {
	st := newSite(t, luatest.Embedded(t))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, c := range []struct {
		err    error
		status int // 0: not an error of this package
		after  string
	}{
		{nil, 0, ""},
		{errors.New("a template"), 0, ""},
		{session.ErrUnavailable, http.StatusServiceUnavailable, "1"},
		{fmt.Errorf("load: %w", session.ErrUnavailable), http.StatusServiceUnavailable, "1"},
		{session.ErrGone, http.StatusConflict, ""},
		{session.ErrStaleLogin, http.StatusUnauthorized, ""},
		{session.ErrConflict, http.StatusConflict, ""},
		{session.ErrCapReached, http.StatusConflict, ""},
		{session.ErrTooLarge, http.StatusRequestEntityTooLarge, ""},
		{session.ErrTooLate, http.StatusInternalServerError, ""},
		{session.ErrNoMiddleware, http.StatusInternalServerError, ""},
		{fmt.Errorf("guard: %w", &session.Refusal{Status: http.StatusForbidden}), http.StatusForbidden, ""},
	} {
		f := st.m.Refusal(r, c.err)
		if c.status == 0 {
			if f != nil {
				t.Errorf("Refusal(%v) = %v, want nil", c.err, f)
			}
			continue
		}
		if f == nil || f.StatusCode() != c.status {
			t.Errorf("Refusal(%v) = %v, want status %d", c.err, f, c.status)
			continue
		}
		if h := (http.Header{}); true {
			f.Header(h)
			if h.Get("Retry-After") != c.after || h.Get("Cache-Control") != "no-store" {
				t.Errorf("Refusal(%v) sets %v, want Retry-After %q and no-store", c.err, h, c.after)
			}
		}
		if f.Err != nil && !errors.Is(f, c.err) {
			t.Errorf("Refusal(%v) hides its reason", c.err)
		}
	}
}

// TestMountedTwice: the inner of two middlewares must not open the session again: its changes and the outer's would be two
// commits, and a login in one be unknown to the other.
func TestMountedTwice(t *testing.T) {
	st := newSite(t, luatest.Embedded(t))
	var outer, inner *session.Session
	h := func(w http.ResponseWriter, r *http.Request) error {
		outer, _ = session.From(r.Context())
		return st.m.Serve(w, r, func(_ http.ResponseWriter, r *http.Request) error {
			inner, _ = session.From(r.Context())
			return errors.New("of the handler")
		})
	}
	err := st.m.Serve(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), h)
	if outer != inner {
		t.Error("two middlewares gave two sessions")
	}
	if err == nil || err.Error() != "of the handler" {
		t.Errorf("Serve = %v, want the handler's error", err)
	}
}

// TestServeReturnsWhyTheCommitFailed: frameworks log what a middleware returns.
func TestServeReturnsWhyTheCommitFailed(t *testing.T) {
	st := newSite(t, luatest.Embedded(t))
	b := st.login("alice")
	var failed error
	b2 := sessiontest.NewBrowser(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		failed = st.m.Serve(w, r, func(_ http.ResponseWriter, r *http.Request) error {
			s, _ := session.From(r.Context())
			st.check(color.Set(s, "red"))
			_, err := st.m.RevokeUser(r.Context(), "alice")
			st.check(err)
			return errors.New("of the handler")
		})
	}))
	b2.SetCookie(cookieName, b.Cookie(cookieName))
	resp := b2.Do(http.MethodGet, "/")
	if !errors.Is(failed, session.ErrGone) || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("Serve = %v with status %d, want ErrGone and 401", failed, resp.StatusCode)
	}
}
