package session

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// A wrapper that offers less than the writer it wraps breaks streams and WebSockets; one that offers more promises what
// will fail. Go has no way to add a method at run time, so there is a type for each combination.

type flusher struct{ c *committer }

// Flush commits, and flushes.
func (p flusher) Flush() { _ = p.c.flush() }

// FlushError commits, and flushes.
func (p flusher) FlushError() error { return p.c.flush() }

type hijacker struct{ c *committer }

// Hijack commits, and takes the connection over. It refuses when a new session or login is pending, whose cookie it could
// not send.
func (p hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return p.c.hijack() }

type readerFrom struct{ c *committer }

// ReadFrom commits, and copies.
func (p readerFrom) ReadFrom(r io.Reader) (int64, error) { return p.c.readFrom(r) }

// has reports whether the writer, or one that it wraps, is a T. Following Unwrap matters: http.ResponseController would
// follow it past a wrapper that does not offer the method, and send the header without a commit.
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

func (c *committer) offering() http.ResponseWriter {
	const canFlush, canHijack, canRead = 1, 2, 4
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
	f, h, r := flusher{c}, hijacker{c}, readerFrom{c}
	if p, ok := c.w.(http.Pusher); ok {
		return c.pushing(kind, p)
	}
	switch kind {
	case canFlush:
		return struct {
			*committer
			flusher
		}{c, f}
	case canHijack:
		return struct {
			*committer
			hijacker
		}{c, h}
	case canFlush | canHijack:
		return struct {
			*committer
			flusher
			hijacker
		}{c, f, h}
	case canRead:
		return struct {
			*committer
			readerFrom
		}{c, r}
	case canFlush | canRead:
		return struct {
			*committer
			flusher
			readerFrom
		}{c, f, r}
	case canHijack | canRead:
		return struct {
			*committer
			hijacker
			readerFrom
		}{c, h, r}
	case canFlush | canHijack | canRead:
		return struct {
			*committer
			flusher
			hijacker
			readerFrom
		}{c, f, h, r}
	}
	return c
}

// pushing is offering for a writer of HTTP/2.
func (c *committer) pushing(kind int, p http.Pusher) http.ResponseWriter {
	f, h, r := flusher{c}, hijacker{c}, readerFrom{c}
	switch kind {
	case 1:
		return struct {
			*committer
			http.Pusher
			flusher
		}{c, p, f}
	case 2:
		return struct {
			*committer
			http.Pusher
			hijacker
		}{c, p, h}
	case 3:
		return struct {
			*committer
			http.Pusher
			flusher
			hijacker
		}{c, p, f, h}
	case 4:
		return struct {
			*committer
			http.Pusher
			readerFrom
		}{c, p, r}
	case 5:
		return struct {
			*committer
			http.Pusher
			flusher
			readerFrom
		}{c, p, f, r}
	case 6:
		return struct {
			*committer
			http.Pusher
			hijacker
			readerFrom
		}{c, p, h, r}
	case 7:
		return struct {
			*committer
			http.Pusher
			flusher
			hijacker
			readerFrom
		}{c, p, f, h, r}
	}
	return struct {
		*committer
		http.Pusher
	}{c, p}
}
