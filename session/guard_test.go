package session_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

func TestRefusalOfErrors(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
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
		{fmt.Errorf("guard: %w", &gatekit.Refusal{Status: http.StatusForbidden}), http.StatusForbidden, ""},
	} {
		t.Run(fmt.Sprint(c.err), func(t *testing.T) {
			f, ok := st.m.Refusal(r, c.err)
			if c.status == 0 {
				if ok {
					t.Errorf("Refusal(%v) = %v, want none", c.err, f)
				}
				return
			}
			if !ok || f.StatusCode() != c.status {
				t.Errorf("Refusal(%v) = %v, want status %d", c.err, f, c.status)
				return
			}
			if h := (http.Header{}); true {
				f.Header(h)
				if h.Get("Retry-After") != c.after || h.Get("Cache-Control") != "no-store" {
					t.Errorf("Refusal(%v) sets %v, want Retry-After %q and no-store", c.err, h, c.after)
				}
			}
			if f.Err != nil && !errors.Is(&f, c.err) {
				t.Errorf("Refusal(%v) hides its reason", c.err)
			}
		})
	}
}

// TestMountedTwice: the inner of two middlewares must not open the session again.
// Otherwise its changes and the outer's would be two commits, and neither would know of a
// login in the other.
func TestMountedTwice(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
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
	st := newSite(t, redistest.Embedded(t))
	b := st.login("alice")
	var failed error
	b2 := browsertest.NewBrowser(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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

// TestGuardsReturnNoNilRefusal: a nil *gatekit.Refusal in an error is not nil, so the
// guard would stop users who are logged in.
func TestGuardsReturnNoNilRefusal(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	guards := map[string]func(r *http.Request) error{
		"RequireLogin": func(r *http.Request) error { return st.m.RequireLogin(r, "/login") },
		"RequireFresh": func(r *http.Request) error { return st.m.RequireFresh(r, time.Hour, "/login") },
		"CrossOrigin":  func(r *http.Request) error { return session.CrossOrigin(nil)(r) },
		"Devices":      func(r *http.Request) error { _, err := st.m.Devices(r); return err },
		"Logout":       func(r *http.Request) error { return st.m.Logout(r) },
		"Everywhere":   func(r *http.Request) error { return st.m.LogoutEverywhere(r) },
	}
	for name, check := range guards {
		t.Run(name, func(t *testing.T) {
			st.on("/"+name, func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				if err := check(r); err != nil {
					st.m.Refuse(w, r, err)
				}
			})
			want(t, st.login("alice").Do("POST", "/"+name), 200, "")
			if name == "CrossOrigin" {
				return
			}
			for _, method := range []string{"GET", "POST"} { // a guest, and a logout by GET
				st.on("/"+name+"/refused", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
					var f *gatekit.Refusal
					if err := check(r); (name == "Logout" && method == "POST") == errors.As(err, &f) {
						t.Errorf("%s of a guest's %s: got %v, want a *Refusal", name, method, err)
					}
				})
				st.browser().Do(method, "/"+name+"/refused")
			}
		})
	}
}

// TestManagersKnowTheirOwnSession: with another manager's middleware inside, a manager's
// list still marks the request's session, and its login is not refused because of a
// revocation of the same request.
func TestManagersKnowTheirOwnSession(t *testing.T) {
	srv := redistest.Embedded(t)
	st := newSite(t, srv)
	inner := newSite(t, srv, func(c *settings) { c.Cookie.Name = "__Host-staff" })
	var failed error
	b := browsertest.NewBrowser(browsertest.Middleware(st.m, browsertest.Middleware(inner.m, http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			s, err := st.m.From(r.Context())
			_, errRevoke := st.m.RevokeUser(r.Context(), "alice")
			failed = errors.Join(err, errRevoke, s.Login(r.Context(), "alice", session.LoginOptions{}))
			if infos, _, err := st.m.List(r.Context(), "alice", ""); err != nil || len(infos) != 1 || !infos[0].Current {
				t.Errorf("List: %+v, %v, want the request's own session", infos, err)
			}
			if f, _ := st.m.Refusal(r, session.ErrGone); f.Status != http.StatusUnauthorized {
				t.Errorf("the session of a login that is gone is answered by %d, want 401", f.Status)
			}
			if own, err := inner.m.From(r.Context()); err != nil || own == s || own.UserID() != "" {
				t.Errorf("the inner manager has the session of %q, %v, want a guest's", own.UserID(), err)
			}
		}))))
	b.Do("POST", "/")
	if failed != nil {
		t.Error(failed)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if s, err := st.m.From(r.Context()); s == nil || !errors.Is(err, session.ErrNoMiddleware) {
		t.Errorf("without a middleware From = %v, %v, want a session and ErrNoMiddleware", s, err)
	}
}
