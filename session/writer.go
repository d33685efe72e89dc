package session

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/gatekit/gatekit/internal/request"
)

// Wrap returns a writer that commits the session ahead of the first byte, however that is written: Write, WriteHeader
// (informational 1xx aside, but for 101), WriteString, ReadFrom, Flush or Hijack. It offers those of [http.Flusher],
// [http.Hijacker], [http.Pusher] and [io.ReaderFrom] that w has. When the commit fails the client gets the answer of
// [Manager.Refuse] and the handler's further writes an error.
//
// The first 2 KB of a response that takes a login to the browser of another session are held until [Manager.Finish], which
// sends them ahead of that session's end, with their length.
//
// done is for when the handler has returned: it commits if nothing was written. It returns a *[Refusal] when the client got
// an answer of Refuse in place of the handler's, else nil.
func (m *Manager) Wrap(w http.ResponseWriter, s *Session) (wrapped http.ResponseWriter, done func() error) {
	c := &committer{w: w, s: s}
	return c.offering(), c.done
}

// Serve calls the handler with the request's session in the context, for [From], and a writer as of [Manager.Wrap]; it is
// all that the middleware of a framework does. Redis is asked nothing until the handler does.
//
// The handler has to answer its own errors before it returns them: once it has returned the session is closed. The error is
// a *[Refusal] when the session could not be committed, in which case [Manager.Refuse] answered, or else the handler's. Called
// inside itself, with a middleware that is mounted twice, Serve only calls the handler, for which [From] returns this
// manager's session again.
//
// Request and writer may stay in the framework's context: after Serve, and after a panic, the writer passes on what is
// written, such as the answer of a recovery, but nothing behind the answer to an error. The session can still be read.
func (m *Manager) Serve(w http.ResponseWriter, r *http.Request, handler func(http.ResponseWriter, *http.Request) error) error {
	if outer, ok := m.find(r.Context()); ok && !outer.isFinished() {
		if r.Context().Value(contextKey{}) != outer { // another manager's middleware is in between
			copied := r.WithContext(&requestContext{r.Context(), outer})
			defer request.GiveBack(r, copied)
			r = copied
		}
		return handler(w, r)
	}
	var at struct { // in one allocation
		s Session
		c committer
		r http.Request
	}
	at.s.begin(m, r)
	at.c.w, at.c.s = w, &at.s
	defer m.Finish(r.Context(), &at.s) // from then on a commit is nothing, so that after a panic the writer passes on
	at.r = *r.WithContext(at.s.Context())
	defer request.GiveBack(r, &at.r)
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

// held is the beginning of a response whose cookie must have left before the session that it replaces is ended: a process
// that dies between the two would log the browser out. A flush alone would do, but it makes a short answer a chunked one.
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
		s.m.Refuse(c.w, r, err)
		return c.refused
	}
	c.begun = true
	if s.replaces() {
		s.onFinish(c.send)
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

// body is what comes ahead of n bytes: the implicit status, and what is held if they don't fit.
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

// done commits when nothing was written. A framework whose writer records the status will send that, all others send 200.
func (c *committer) done() error {
	status := http.StatusOK
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
