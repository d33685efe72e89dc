// Package respwriter commits a session ahead of the first byte of its response, whichever
// method the handler writes with. It knows the session by the interface [Session] only,
// and knows nothing of Redis.
package respwriter

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
)

// A Session has the methods that a [Writer] calls on the session of its request. A
// request may have several writers, one inside the other.
type Session interface {
	// Request returns the request that is being answered.
	Request() *http.Request

	// Commit saves the changes and sets the response's header fields, once. Later calls
	// return the result of the first. The status is that of the response.
	Commit(status int, h http.Header) error

	// Committed reports whether a commit was begun, by this writer or another.
	Committed() bool

	// Hijack is Commit for a hijacked connection, which carries no header of ours. It
	// refuses if a cookie is due.
	Hijack() error

	// GoneAround is Commit for a response that was sent without the writer.
	GoneAround(status int) error

	// Refuse answers a failed commit on w, unless another writer of the request did. It
	// returns the error for the handler.
	Refuse(w http.ResponseWriter, failed error) error

	// Holds reports whether this writer has to hold the response: the session must send
	// it before the rest of its work, and no other writer of the request holds it. The
	// writer then passes a function to OnFinish that sends it.
	Holds() bool
	OnFinish(send func())
}

// A Writer commits its session ahead of the first byte, whether the handler calls Write,
// WriteString, ReadFrom, Flush, Hijack or WriteHeader. WriteHeader of an informational
// status (1xx except 101) does not commit. After a failed commit the client gets the
// answer of [Session.Refuse], and the handler's further writes get the error.
//
// A Writer is no http.ResponseWriter itself: [Writer.Wrap] returns one. The Writer must
// not be copied after that.
type Writer struct{ c committer }

// Wrap returns the writer for the handler. It has those of [http.Flusher],
// [http.Hijacker], [http.Pusher] and [io.ReaderFrom] that out has.
func (w *Writer) Wrap(out http.ResponseWriter, s Session) http.ResponseWriter {
	w.c.w, w.c.s = out, s
	return w.c.offering()
}

// Begun reports whether the handler's own response has begun.
func (w *Writer) Begun() bool { return w.c.begun }

// Close refuses all further writes with the error.
func (w *Writer) Close(err error) { w.c.refused = err }

// Done is called when the handler has returned. It commits if nothing was written. The
// error is that of [Session.Refuse] or [Session.GoneAround].
func (w *Writer) Done() error { return w.c.done() }

// committer is the writer without the optional methods, which are in kinds.go. Frameworks
// look for its exported methods.
type committer struct {
	w       http.ResponseWriter
	s       Session
	begun   bool  // the final header went to w or is held, or the connection was hijacked
	refused error // the response is an error page, and complete
	held    *held // the part of the response that did not go to w yet
}

// held is the beginning of a response whose login replaces a session. The response must
// be sent before that session is ended: if the process died in between in the other
// order, the browser would be logged out. A flush alone would do, but it makes a short
// response a chunked one.
type held struct {
	status   int
	body     []byte
	complete bool
}

const maxHeld = 2048 // bytes; net/http buffers as many to set Content-Length

// commit commits the session, once. It returns an error if the handler's response must
// not go on.
func (c *committer) commit(status int) error {
	if c.begun || c.refused != nil {
		return c.refused
	}
	if err := c.s.Commit(status, c.w.Header()); err != nil {
		c.refused = c.s.Refuse(c.w, err)
		return c.refused
	}
	c.begun = true
	if c.s.Holds() {
		c.s.OnFinish(c.send)
		if h := c.w.Header(); status >= 200 && h.Get("Content-Length") == "" && h.Get("Trailer") == "" {
			c.held = &held{status: status}
		}
	}
	return nil
}

// begin begins the response with status 200 if it has not begun. If the response is held
// and n more bytes don't fit, it sends the held part.
func (c *committer) begin(n int) error {
	if !c.begun && c.commit(http.StatusOK) == nil && c.held == nil {
		c.w.WriteHeader(http.StatusOK)
	}
	if c.refused == nil && c.held != nil && n > maxHeld-len(c.held.body) {
		return c.release()
	}
	return c.refused
}

// send sends the held part, and flushes w's buffer.
func (c *committer) send() {
	if h := c.held; h != nil && h.complete && h.status != http.StatusNoContent && h.status != http.StatusNotModified &&
		(c.s.Request().Method != http.MethodHead || len(h.body) > 0) {
		c.w.Header().Set("Content-Length", strconv.Itoa(len(h.body)))
	}
	if c.release() == nil {
		_ = http.NewResponseController(c.w).Flush()
	}
}

// release sends the held part and stops holding.
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
	if informational && c.refused == nil || c.commit(status) == nil && c.held == nil {
		c.w.WriteHeader(status)
	}
}

// Write commits ahead of the first byte.
func (c *committer) Write(b []byte) (int, error) {
	if err := c.begin(len(b)); err != nil {
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
	if err := c.begin(len(text)); err != nil {
		return 0, err
	}
	if c.held != nil {
		c.held.body = append(c.held.body, text...)
		return len(text), nil
	}
	return io.WriteString(c.w, text)
}

func (c *committer) flush() error {
	if err := c.begin(maxHeld + 1); err != nil {
		return err
	}
	return http.NewResponseController(c.w).Flush()
}

func (c *committer) hijack() (net.Conn, *bufio.ReadWriter, error) {
	if c.refused != nil {
		return nil, nil, c.refused
	}
	if !c.begun {
		if err := c.s.Hijack(); err != nil {
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
	if err := c.begin(0); err != nil {
		return 0, err
	}
	if c.held != nil {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	return c.w.(io.ReaderFrom).ReadFrom(r)
}

// CloseNotify is for Gin, whose c.Stream calls it on the server's writer. The channel
// gets true when the client has gone.
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
	context.AfterFunc(c.s.Request().Context(), func() { gone <- true })
	return gone
}

// done commits if nothing was written. The status is the one that the framework's writer
// has recorded, or 200 if it records none.
func (c *committer) done() error {
	status := http.StatusOK
	if w, ok := c.w.(interface {
		Written() bool
		Status() int
	}); ok && w.Written() && !c.begun && c.refused == nil && !c.s.Committed() {
		return c.s.GoneAround(w.Status())
	}
	if w, ok := c.w.(interface{ Status() int }); ok {
		status = w.Status()
	}
	if err := c.commit(status); err != nil {
		return err
	}
	if c.held != nil {
		c.held.complete = true
	}
	return nil
}
