package session

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/gatekit/gatekit/internal/request"
)

// Wrap returns a writer that commits the session ahead of the first byte, however that is
// written: Write, WriteHeader (informational 1xx aside, but for 101), WriteString,
// ReadFrom, Flush or Hijack. It offers those of [http.Flusher], [http.Hijacker],
// [http.Pusher] and [io.ReaderFrom] that w has. When the commit fails the client gets the
// answer of [Manager.Refuse] and the handler's further writes an error.
//
// The first 2 KB of a response that takes a login to the browser of another user's
// session are held until [Manager.Finish], which sends them ahead of that session's end,
// with their length.
//
// done is for when the handler has returned: it commits if nothing was written. It
// returns a *[Refusal] when the client got an answer of Refuse in place of the handler's,
// else nil.
func (m *Manager) Wrap(w http.ResponseWriter, s *Session) (wrapped http.ResponseWriter, done func() error) {
	c := &committer{w: w, s: s}
	return c.offering(), c.done
}

// Serve calls the handler with the request's session in the context, for [From], and a
// writer as of [Manager.Wrap]; it is all that the middleware of a framework does. Redis
// is asked nothing until the handler does.
//
// The handler has to answer its own errors before it returns them: once it has returned
// the session is closed. The error is a *[Refusal] when the session could not be
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
		c committer
		r http.Request
		b usedBody
	}
	at.s.begin(m, r)
	at.c.w, at.c.s, at.s.under = w, &at.s, w
	defer m.Finish(r.Context(), &at.s) // from then on a commit is nothing, so that after a panic the writer passes on
	at.r = *r.WithContext(at.s.Context())
	defer request.GiveBack(r, &at.r)
	at.b.useBody(&at.r, &at.s)
	failed := handler(at.c.offering(), &at.r)
	answered := at.c.begun
	if err := at.c.done(); err != nil {
		return err
	}
	if failed != nil && answered {
		at.c.refused = ErrTooLate
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
	c := &committer{w: w, s: s}
	failed := handler(c.offering(), r)
	if err := c.done(); err != nil {
		return err
	}
	return failed
}

// tell reports whether the client has still to be told that the commit failed.
func (s *Session) tell() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.told
	s.told = true
	return !told
}

func (s *Session) isFinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == finished
}

// committer is the writer without the optional methods, which are in writer_kinds.go.
type committer struct {
	w       http.ResponseWriter
	s       *Session
	begun   bool  // the final header went to w or is held, or the connection was hijacked
	refused error // the response is an error page, and complete
	held    *held // what did not go to w yet
}

// held is the beginning of a response whose cookie must have left before the session that
// it replaces is ended: a process that dies between the two would log the browser out. A
// flush alone would do, but it makes a short answer a chunked one.
type held struct {
	status   int
	body     []byte
	complete bool
}

const maxHeld = 2048 // bytes; net/http holds as many to tell their length

// begin commits the session, once, and reports whether the handler's response may go on.
func (c *committer) begin(status int) error {
	if c.begun || c.refused != nil {
		return c.refused
	}
	s := c.s
	if err := s.m.Commit(s.r.Context(), s, status, c.w.Header()); err != nil {
		r := s.r.WithContext(s.Context())
		c.refused = s.m.refusal(r, err)
		if s.tell() {
			s.m.Refuse(c.w, r, err)
		}
		return c.refused
	}
	c.begun = true
	if s.replaces(c) {
		if h := c.w.Header(); status >= 200 && h.Get("Content-Length") == "" && h.Get("Trailer") == "" {
			c.held = &held{status: status}
		}
	}
	return nil
}

// send sends what is held and may be in a buffer of w.
func (c *committer) send() {
	if h := c.held; h != nil && h.complete && h.status != http.StatusNoContent && h.status != http.StatusNotModified &&
		(c.s.r.Method != http.MethodHead || len(h.body) > 0) {
		c.w.Header().Set("Content-Length", strconv.Itoa(len(h.body)))
	}
	if c.release() == nil {
		_ = http.NewResponseController(c.w).Flush()
	}
}

// release stops holding.
func (c *committer) release() (err error) {
	h := c.held
	if c.held = nil; h == nil {
		return nil
	}
	c.w.WriteHeader(h.status)
	if len(h.body) > 0 {
		_, err = c.w.Write(h.body)
	}
	return err
}

// Header returns the header map of the response.
func (c *committer) Header() http.Header { return c.w.Header() }

// Unwrap is for [http.ResponseController].
func (c *committer) Unwrap() http.ResponseWriter { return c.w }

// WriteHeader commits, and sends the status.
func (c *committer) WriteHeader(status int) {
	informational := status >= 100 && status < 200 && status != http.StatusSwitchingProtocols
	if informational && c.refused == nil || c.begin(status) == nil && c.held == nil {
		c.w.WriteHeader(status)
	}
}

// Write commits ahead of the first byte.
func (c *committer) Write(b []byte) (int, error) {
	if err := c.body(len(b)); err != nil {
		return 0, err
	}
	if c.held != nil {
		c.held.body = append(c.held.body, b...)
		return len(b), nil
	}
	return c.w.Write(b)
}

// WriteString commits ahead of the first byte.
func (c *committer) WriteString(text string) (int, error) {
	if err := c.body(len(text)); err != nil {
		return 0, err
	}
	if c.held != nil {
		c.held.body = append(c.held.body, text...)
		return len(text), nil
	}
	return io.WriteString(c.w, text)
}

// body is what comes ahead of n bytes: the implicit status, and what is held if they
// don't fit.
func (c *committer) body(n int) error {
	if !c.begun && c.refused == nil {
		c.WriteHeader(http.StatusOK)
	}
	if c.refused == nil && c.held != nil && n > maxHeld-len(c.held.body) {
		return c.release()
	}
	return c.refused
}

func (c *committer) flush() error {
	if err := c.body(maxHeld + 1); err != nil {
		return err
	}
	return http.NewResponseController(c.w).Flush()
}

func (c *committer) hijack() (net.Conn, *bufio.ReadWriter, error) {
	if c.refused != nil {
		return nil, nil, c.refused
	}
	if !c.begun {
		if err := c.s.hijack(c.s.r.Context()); err != nil {
			return nil, nil, err
		}
	} else if err := c.release(); err != nil {
		return nil, nil, err
	}
	conn, rw, err := http.NewResponseController(c.w).Hijack()
	c.begun = c.begun || err == nil
	return conn, rw, err
}

func (c *committer) readFrom(r io.Reader) (int64, error) {
	if err := c.body(0); err != nil {
		return 0, err
	}
	if c.held != nil {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	return c.w.(io.ReaderFrom).ReadFrom(r)
}

// CloseNotify is for Gin, whose c.Stream asks the writer of the server for it: true is
// sent when the client has gone.
func (c *committer) CloseNotify() <-chan bool {
	for w := c.w; w != nil; {
		if n, ok := w.(interface{ CloseNotify() <-chan bool }); ok {
			return n.CloseNotify()
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = u.Unwrap()
	}
	gone := make(chan bool, 1)
	context.AfterFunc(c.s.r.Context(), func() { gone <- true })
	return gone
}

var errAround = errors.New("session: the response went out around the session's writer, without the cookie of a new session or " +
	"login: mount the sessions where Gin's HandleContext begins again, on the engine")

// done commits when nothing was written. A framework whose writer records the status will
// send that, all others send 200.
func (c *committer) done() error {
	status := http.StatusOK
	if w, ok := c.w.(interface {
		Written() bool
		Status() int
	}); ok && w.Written() && !c.begun && c.refused == nil && !c.s.isCommitted() {
		return c.around(w.Status())
	}
	if w, ok := c.w.(interface{ Status() int }); ok {
		status = w.Status()
	}
	if err := c.begin(status); err != nil {
		return err
	}
	if c.held != nil {
		c.held.complete = true
	}
	return nil
}

// around saves what needs no cookie, of a response that went out without the committer.
func (c *committer) around(status int) error {
	ctx := c.s.r.Context()
	if status >= http.StatusInternalServerError {
		return c.s.respond(ctx, status, http.Header{}, true)
	}
	err := c.s.hijack(ctx)
	if errors.Is(err, errHijack) { // Finish drops the changes, and undoes a login
		err = errAround
	}
	if err != nil {
		c.s.m.logger.ErrorContext(ctx, "gatekit: changes were not saved", "error", err)
	}
	return err
}

func (s *Session) isCommitted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase != before
}
