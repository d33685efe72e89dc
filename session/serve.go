package session

import (
	"net/http"
	"time"

	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/session/internal/respwriter"
	"github.com/gatekit/gatekit/session/internal/token"
)

// Serve calls the handler with the request's session in the context, for [From], and a
// writer that commits the session ahead of the first byte of the response. The middleware
// of a framework needs to call nothing else. Redis is not asked before the handler asks
// for the session.
//
// The writer has those of [http.Flusher], [http.Hijacker], [http.Pusher] and
// [io.ReaderFrom] that w has. If the commit fails, the client gets the answer of
// [Manager.Refuse] and the handler's further writes get an error. If a login replaces
// another user's session, up to 2 KB of the response are held until the handler has
// returned. Then Serve sends them with a Content-Length, and ends that session after
// that.
//
// The handler has to answer its own errors before it returns them, because the session
// closes when it has returned. If the session could not be committed, [Manager.Refuse]
// answered, and Serve returns a [*gatekit.Refusal]. Otherwise it returns the handler's
// error.
//
// If Serve runs inside itself, because the middleware is mounted twice, the inner Serve
// only calls the handler, and [From] returns this manager's session again. Some
// frameworks may begin their chain again with the server's own writer, as Gin's
// HandleContext does. The writer that their adapter passes has the method
// GoesAround(outer http.ResponseWriter) bool. It reports whether the bytes written to it
// bypass the writer that the outer Serve got. If so, the inner Serve commits the
// response.
//
// Request and writer may stay in the framework's context. After Serve, and after a panic,
// the writer still passes bytes on, such as the answer of a recovery, but none after it
// has answered an error. The session can still be read.
func (m *Manager) Serve(w http.ResponseWriter, r *http.Request, handler func(http.ResponseWriter, *http.Request) error) error {
	if outer, ok := m.find(r.Context()); ok && !outer.isFinished() {
		if r.Context().Value(contextKey{}) != outer { // another manager's middleware is in between
			copied := r.WithContext(&requestContext{r.Context(), outer})
			defer request.GiveBack(r, copied)
			r = copied
		}
		return outer.serveAgain(w, r, handler)
	}
	var at struct { // in one allocation
		s Session
		w respwriter.Writer
		r http.Request
		b usedBody
	}
	at.s.begin(m, r)
	at.s.under = w
	// After finish a commit does nothing, so the writer still passes bytes on after a
	// panic.
	defer at.s.finish(r.Context())
	at.r = *r.WithContext(&at.s.ctx)
	defer request.GiveBack(r, &at.r)
	at.b.useBody(&at.r, &at.s)
	failed := handler(at.w.Wrap(w, (*response)(&at.s)), &at.r)
	answered := at.w.Begun()
	if err := at.w.Done(); err != nil {
		return err
	}
	if failed != nil && answered {
		at.w.Close(ErrTooLate)
	}
	return failed
}

// serveAgain is the inner Serve, if Serve runs inside itself.
func (s *Session) serveAgain(w http.ResponseWriter, r *http.Request, handler func(http.ResponseWriter, *http.Request) error) error {
	around, ok := w.(interface {
		GoesAround(http.ResponseWriter) bool
	})
	if !ok || !around.GoesAround(s.under) {
		return handler(w, r)
	}
	var inner respwriter.Writer
	failed := handler(inner.Wrap(w, (*response)(s)), r)
	if err := inner.Done(); err != nil {
		return err
	}
	return failed
}

// begin makes the zero Session a session of the request. It reads the cookie, and does
// not ask Redis.
func (s *Session) begin(m *Manager, r *http.Request) {
	s.m, s.r, s.began, s.state = m, r, time.Now(), none
	s.ctx = requestContext{r.Context(), s}
	if m.cfg.Bearer {
		if t, ok := findBearer(r.Header); ok {
			s.bearer = true
			s.present(t, ok)
			return
		}
	}
	first, others, ok := m.cfg.Cookie.find(r.Header)
	switch {
	case ok && len(others) > 0:
		s.state, s.rivals = unread, append(others, first)
		return
	case len(others) > 0:
		m.warnCookies(r.Context(), "too many cookies of one name, the visitor counts as a guest", "most", maxCandidates)
	}
	s.present(first, ok)
}

func (s *Session) present(t token.Token, ok bool) {
	switch {
	case ok:
		s.state, s.token = unread, t
	case s.m.legacy.brings(s.r):
		s.state = unread // the token stays zero: see ask
	}
}

func (s *Session) isFinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == finished
}
