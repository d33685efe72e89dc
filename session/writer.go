package session

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// Wrap returns a writer that commits the session ahead of the first byte, however that is written: Write, WriteHeader
// (informational 1xx aside, but for 101), WriteString, ReadFrom, Flush or Hijack. It offers those of [http.Flusher],
// [http.Hijacker], [http.Pusher] and [io.ReaderFrom] that w has. When the commit fails the client gets the answer of
// [Manager.Refuse] and the handler's further writes an error.
//
// done is for when the handler has returned: it commits if nothing was written, and sends out a login that takes the place
// of a guest, because [Manager.Finish] ends the guest. It returns a *[Refusal] when the client got an answer of Refuse in
// place of the handler's, else nil.
func (m *Manager) Wrap(w http.ResponseWriter, s *Session) (wrapped http.ResponseWriter, done func() error) {
	c := &committer{w: w, s: s}
	return c.offering(), c.done
}

// Serve calls the handler with the request's session in the context, for [From], and a writer as of [Manager.Wrap]; it is
// all that the middleware of a framework does. Redis is asked nothing until the handler does.
//
// The handler has to answer its own errors before it returns them: once it has returned the session is closed. The error is
// a *[Refusal] when the session could not be committed, in which case [Manager.Refuse] answered, or else the handler's. Called
// inside itself, with a middleware that is mounted twice, Serve only calls the handler.
//
// Request and writer may stay in the framework's context: after Serve, and after a panic, the writer passes on what is
// written, such as the answer of a recovery, but nothing behind the answer to an error. The session can still be read.
func (m *Manager) Serve(w http.ResponseWriter, r *http.Request, handler func(http.ResponseWriter, *http.Request) error) error {
	if outer, ok := r.Context().Value(contextKey{}).(*Session); ok && outer.m == m && !outer.isFinished() {
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
	begun   bool  // the final header went to w, or the connection was hijacked
	refused error // the response is an error page, and complete
}

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
	return nil
}

// Header returns the header map of the response.
func (c *committer) Header() http.Header { return c.w.Header() }

// Unwrap is for [http.ResponseController].
func (c *committer) Unwrap() http.ResponseWriter { return c.w }

// WriteHeader commits, and sends the status.
func (c *committer) WriteHeader(status int) {
	informational := status >= 100 && status < 200 && status != http.StatusSwitchingProtocols
	if informational && c.refused == nil || c.begin(status) == nil {
		c.w.WriteHeader(status)
	}
}

// Write commits ahead of the first byte.
func (c *committer) Write(b []byte) (int, error) {
	if err := c.body(); err != nil {
		return 0, err
	}
	return c.w.Write(b)
}

// WriteString commits ahead of the first byte.
func (c *committer) WriteString(text string) (int, error) {
	if err := c.body(); err != nil {
		return 0, err
	}
	return io.WriteString(c.w, text)
}

// body is what comes ahead of bytes: the implicit status.
func (c *committer) body() error {
	if !c.begun && c.refused == nil {
		c.WriteHeader(http.StatusOK)
	}
	return c.refused
}

func (c *committer) flush() error {
	if err := c.body(); err != nil {
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
	}
	conn, rw, err := http.NewResponseController(c.w).Hijack()
	c.begun = c.begun || err == nil
	return conn, rw, err
}

func (c *committer) readFrom(r io.Reader) (int64, error) {
	if err := c.body(); err != nil {
		return 0, err
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
	if c.s.replaces() {
		// A process that dies once the guest has ended must not have the new cookie in a buffer still.
		_ = http.NewResponseController(c.w).Flush()
	}
	return nil
}
