package gatehttp

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"

	"github.com/gatekit/gatekit/ratelimit"
)

// measured is a writer that counts what a handler sends, for rules with a Settle. Its
// optional methods are in the types below.
type measured struct {
	w      http.ResponseWriter
	r      *http.Request
	status int // 0 before the header is sent
	bytes  int64
}

// settle calls next, and settles the request when next has returned or panicked.
func settle(gate *ratelimit.Gate, w http.ResponseWriter, r *http.Request, next http.Handler) {
	m := &measured{w: w, r: r}
	returned := false
	defer func() {
		gate.Settle(r, ratelimit.Response{Status: m.status, Bytes: m.bytes, Panicked: !returned})
	}()
	next.ServeHTTP(m.offering(), r)
	returned = true
}

// Header returns the header map of the response.
func (m *measured) Header() http.Header { return m.w.Header() }

// Unwrap is for [http.ResponseController].
func (m *measured) Unwrap() http.ResponseWriter { return m.w }

// WriteHeader sends the status, and keeps the first that is final.
func (m *measured) WriteHeader(status int) {
	if m.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		m.status = status
	}
	m.w.WriteHeader(status)
}

// begin notes the status of a response that begins without one.
func (m *measured) begin() {
	if m.status == 0 {
		m.status = http.StatusOK
	}
}

// Write counts what is sent.
func (m *measured) Write(b []byte) (int, error) {
	m.begin()
	n, err := m.w.Write(b)
	m.bytes += int64(n)
	return n, err
}

// WriteString counts what is sent.
func (m *measured) WriteString(text string) (int, error) {
	m.begin()
	n, err := io.WriteString(m.w, text)
	m.bytes += int64(n)
	return n, err
}

// CloseNotify is for Gin, whose c.Stream calls it on the server's writer.
func (m *measured) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(m.r.Context(), func() { gone <- true })
	return gone
}

// A wrapper must have the same optional methods as the writer that it wraps: with fewer
// it breaks streams and sockets, and others would fail. The methods that measured offers
// beyond its own are these, one type for each combination.
type (
	flushes  struct{ *measured }
	hijacks  struct{ *measured }
	readsAll struct{ *measured }

	flushesHijacks         struct{ flushes }
	flushesReadsAll        struct{ flushes }
	flushesHijacksReadsAll struct{ flushesHijacks }
	flushesPushes          struct {
		flushes
		http.Pusher
	}
)

// Flush sends what is buffered.
func (f flushes) Flush() { _ = f.FlushError() }

// FlushError sends what is buffered.
func (f flushes) FlushError() error {
	f.begin()
	return http.NewResponseController(f.w).Flush()
}

// Hijack takes the connection over.
func (h hijacks) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.w).Hijack()
}

// Hijack is that of [hijacks].
func (f flushesHijacks) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return hijacks{f.measured}.Hijack()
}

// ReadFrom counts what is sent, and lets the server send files in its own way.
func (a readsAll) ReadFrom(r io.Reader) (int64, error) {
	a.begin()
	n, err := a.w.(io.ReaderFrom).ReadFrom(r)
	a.bytes += n
	return n, err
}

// ReadFrom is that of [readsAll].
func (f flushesReadsAll) ReadFrom(r io.Reader) (int64, error) {
	return readsAll{f.measured}.ReadFrom(r)
}

// ReadFrom is that of [readsAll].
func (f flushesHijacksReadsAll) ReadFrom(r io.Reader) (int64, error) {
	return readsAll{f.measured}.ReadFrom(r)
}

// offering returns m with the optional methods of its writer. The rare combinations that
// no type above has lose ReadFrom or Push, which callers do without.
func (m *measured) offering() http.ResponseWriter {
	canFlush, canHijack := has[http.Flusher](m.w) || has[interface{ FlushError() error }](m.w), has[http.Hijacker](m.w)
	_, canRead := m.w.(io.ReaderFrom)
	pusher, canPush := m.w.(http.Pusher)
	f := flushes{m}
	switch {
	case canFlush && canHijack && canRead:
		return flushesHijacksReadsAll{flushesHijacks{f}}
	case canFlush && canHijack:
		return flushesHijacks{f}
	case canFlush && canPush:
		return flushesPushes{f, pusher}
	case canFlush && canRead:
		return flushesReadsAll{f}
	case canFlush:
		return f
	case canHijack:
		return hijacks{m}
	case canRead:
		return readsAll{m}
	}
	return m
}

// has reports whether the writer, or one that it wraps, is a T. It follows Unwrap as
// [http.ResponseController] does.
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
