package session_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// TestWriterAfterServe: frameworks keep the writer in their context, and use it after
// Serve has returned.
func TestWriterAfterServe(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	failure := errors.New("on purpose")
	for _, c := range []struct {
		name    string
		handler func(http.ResponseWriter) error
		status  int
		body    string
	}{
		{"nothing written", func(http.ResponseWriter) error { return nil }, 418, "later"},
		{"written", func(w http.ResponseWriter) error { return second(io.WriteString(w, "body ")) }, 200, "body later"},
		{"an error that is not answered", func(http.ResponseWriter) error { return failure }, 418, "later"},
		{"an answered error", func(w http.ResponseWriter) error { http.Error(w, "answer", 500); return failure }, 500, "answer\n"},
		{"panic", func(http.ResponseWriter) error { panic("on purpose") }, 418, "later"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			var kept http.ResponseWriter
			var request *http.Request
			func() {
				defer func() { _ = recover() }()
				_ = st.m.Serve(rec, httptest.NewRequest("GET", "/", nil), func(w http.ResponseWriter, r *http.Request) error {
					kept, request = w, r
					return c.handler(w)
				})
			}()
			kept.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(kept, "later")
			if rec.Code != c.status || rec.Body.String() != c.body {
				t.Errorf("got %d %q, want %d %q", rec.Code, rec.Body, c.status, c.body)
			}
			s, err := session.From(request.Context())
			if err != nil || !errors.Is(color.Set(s, "red"), session.ErrTooLate) {
				t.Errorf("afterwards the session is %v, and takes changes", err)
			}
			// A framework that routes the request anew begins a new session with it.
			_ = st.m.Serve(httptest.NewRecorder(), request, func(_ http.ResponseWriter, r *http.Request) error {
				again, err := session.From(r.Context())
				if err != nil || again == s || color.Set(again, "red") != nil {
					t.Errorf("served again, the request has its old session")
				}
				return nil
			})
		})
	}
}

func second[T any](_ T, err error) error { return err }

// recording is the writer of a framework that sends a status later.
type recording struct{ http.ResponseWriter }

func (recording) Status() int { return http.StatusInternalServerError }

func TestRecordedStatusCounts(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	for _, c := range []struct {
		w       http.ResponseWriter
		cookies int
	}{{httptest.NewRecorder(), 1}, {recording{httptest.NewRecorder()}, 0}} {
		err := st.m.Serve(c.w, httptest.NewRequest("GET", "/", nil), func(_ http.ResponseWriter, r *http.Request) error {
			s, _ := session.From(r.Context())
			return color.Set(s, "red")
		})
		if n := len(c.w.Header().Values("Set-Cookie")); err != nil || n != c.cookies {
			t.Errorf("%T: %d cookies, %v, want %d", c.w, n, err, c.cookies)
		}
	}
}

func TestCrossOriginGuard(t *testing.T) {
	trusting := http.NewCrossOriginProtection()
	if err := trusting.AddTrustedOrigin("https://partner.example"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		p            *http.CrossOriginProtection
		method, site string
		passes       bool
	}{
		{nil, "POST", "same-origin", true},
		{nil, "GET", "cross-site", true},
		{nil, "POST", "cross-site", false},
		{trusting, "POST", "cross-site", true},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		r.Header.Set("Sec-Fetch-Site", c.site)
		r.Header.Set("Origin", "https://partner.example")
		err := session.CrossOrigin(c.p)(r)
		var f *gatekit.Refusal
		if errors.As(err, &f) == c.passes || (err == nil) != c.passes || f != nil && (f.Status != http.StatusForbidden || f.Err == nil) {
			t.Errorf("%s %s: got %v, want to pass: %t", c.method, c.site, err, c.passes)
		}
	}
}

// The middleware must not cost much if the handler does not ask for the session.
func TestAllocationsOfServe(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	st := newSite(t, redistest.Embedded(t))
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	n := testing.AllocsPerRun(100, func() {
		_ = st.m.Serve(w, r, func(http.ResponseWriter, *http.Request) error { return nil })
	})
	if n != 1 {
		t.Errorf("Serve: %v allocations, want 1", n)
	}
}
