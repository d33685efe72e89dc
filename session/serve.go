package session

import (
	"net/http"
	"time"

	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/session/internal/respwriter"
	"github.com/gatekit/gatekit/session/internal/token"
)

// Serve calls the handler with the request's session in the context, for [From], and a
// writer that commits the session ahead of the first byte of the response. It is all that
// the middleware of a framework does. Redis is asked nothing until the handler does.
//
// The writer offers those of [http.Flusher], [http.Hijacker], [http.Pusher] and
// [io.ReaderFrom] that w has. If the commit fails, the client gets the answer of
// [Manager.Refuse] and the handler's further writes get an error. If a login takes the
// place of another user's session, up to 2 KB of the response are held until the handler
// has returned. Then they are sent with their length, ahead of that session's end.
//
// The handler has to answer its own errors before it returns them: once it has returned
// the session is closed. The error is a [*gatekit.Refusal] when the session could not be
// committed, in which case [Manager.Refuse] answered, or else the handler's. Called
// inside itself, with a middleware that is mounted twice, Serve only calls the handler,
// for which [From] returns this manager's session again. A framework that may begin its
// chain again with the server's own writer, as Gin's HandleContext does, has a writer
// with the method GoesAround(outer http.ResponseWriter) bool: it reports whether what is
// written to it does not come to the writer that the outer Serve got. The response is
// then committed by the inner Serve.
//
// Request and writer may stay in the framework's context: after Serve, and after a panic,
// the writer passes on what is written, such as the answer of a recovery, but nothing
// behind the answer to an error. The session can still be read.
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
	// From finish on a commit is nothing, so that after a panic the writer passes on.
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

// serveAgain is Serve inside itself.
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

// begin makes the zero Session that of a request. It reads the cookie, and nothing from
// Redis.
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
		s.state = unread // without a token: see ask
	}
}

func (s *Session) isFinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == finished
}
