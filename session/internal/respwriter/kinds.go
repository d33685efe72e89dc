package respwriter

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// A wrapper must have the same optional methods as the writer it wraps. With fewer
// methods it breaks streams and WebSockets; additional methods would fail. Go can't add a
// method at run time, so there is a type for each combination. All except those of HTTP/2
// are one pointer and cost no allocation.
type (
	flushing  struct{ *committer }
	hijacking struct{ *committer }
	reading   struct{ *committer }

	flushingHijacking        struct{ flushing }
	flushingReading          struct{ flushing }
	hijackingReading         struct{ hijacking }
	flushingHijackingReading struct{ flushingHijacking }
)

// Flush commits, and flushes.
func (c flushing) Flush() { _ = c.flush() }

// FlushError commits, and flushes.
func (c flushing) FlushError() error { return c.flush() }

// Hijack commits, and takes the connection over. It refuses if a new session or login is
// pending, because it could not send the cookie.
func (c hijacking) Hijack() (net.Conn, *bufio.ReadWriter, error) { return c.hijack() }

// Hijack is that of [hijacking].
func (c flushingHijacking) Hijack() (net.Conn, *bufio.ReadWriter, error) { return c.hijack() }

// ReadFrom commits, and copies.
func (c reading) ReadFrom(r io.Reader) (int64, error) { return c.readFrom(r) }

// ReadFrom is that of [reading].
func (c flushingReading) ReadFrom(r io.Reader) (int64, error) { return c.readFrom(r) }

// ReadFrom is that of [reading].
func (c hijackingReading) ReadFrom(r io.Reader) (int64, error) { return c.readFrom(r) }

// ReadFrom is that of [reading].
func (c flushingHijackingReading) ReadFrom(r io.Reader) (int64, error) { return c.readFrom(r) }

// has reports whether the writer, or one that it wraps, is a T. It follows Unwrap,
// because http.ResponseController does: it would go past a wrapper without the method,
// and send the header without a commit.
func has[T any](w http.ResponseWriter) bool {
	for {
		if _, ok := w.(T); ok {
			return true
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = u.Unwrap()
	}
}

const canFlush, canHijack, canRead = 1, 2, 4

func (c *committer) offering() http.ResponseWriter {
	kind := 0
	if has[http.Flusher](c.w) || has[interface{ FlushError() error }](c.w) {
		kind |= canFlush
	}
	if has[http.Hijacker](c.w) {
		kind |= canHijack
	}
	if _, ok := c.w.(io.ReaderFrom); ok {
		kind |= canRead
	}
	if p, ok := c.w.(http.Pusher); ok {
		return c.pushing(kind, p)
	}
	switch f := (flushing{c}); kind {
	case canFlush:
		return f
	case canHijack:
		return hijacking{c}
	case canRead:
		return reading{c}
	case canFlush | canHijack:
		return flushingHijacking{f}
	case canFlush | canRead:
		return flushingReading{f}
	case canHijack | canRead:
		return hijackingReading{hijacking{c}}
	case canFlush | canHijack | canRead:
		return flushingHijackingReading{flushingHijacking{f}}
	}
	return c
}

// pushing does the same for a writer of HTTP/2.
func (c *committer) pushing(kind int, p http.Pusher) http.ResponseWriter {
	switch f := (flushing{c}); kind {
	case canFlush:
		return struct {
			flushing
			http.Pusher
		}{f, p}
	case canHijack:
		return struct {
			hijacking
			http.Pusher
		}{hijacking{c}, p}
	case canRead:
		return struct {
			reading
			http.Pusher
		}{reading{c}, p}
	case canFlush | canHijack:
		return struct {
			flushingHijacking
			http.Pusher
		}{flushingHijacking{f}, p}
	case canFlush | canRead:
		return struct {
			flushingReading
			http.Pusher
		}{flushingReading{f}, p}
	case canHijack | canRead:
		return struct {
			hijackingReading
			http.Pusher
		}{hijackingReading{hijacking{c}}, p}
	case canFlush | canHijack | canRead:
		return struct {
			flushingHijackingReading
			http.Pusher
		}{flushingHijackingReading{flushingHijacking{f}}, p}
	}
	return struct {
		*committer
		http.Pusher
	}{c, p}
}
