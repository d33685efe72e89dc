package gategin

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"
)

// writer is Gin's writer, but sends the response through the session's writer. Gin's
// WriteHeader only records a status, which may change until the header is sent; the
// embedded writer still does that, and the rest.
type writer struct {
	gin.ResponseWriter
	out   http.ResponseWriter // the session's: it commits, and sends to a direct
	begun bool                // out got the header, and may hold it back
	c     *gin.Context        // the context whose writer this is
	asked bool                // isBeneath is asking
}

// Written reports whether the response has begun.
func (w *writer) Written() bool { return w.begun || w.ResponseWriter.Written() }

// WriteHeaderNow commits, and sends the status that was recorded.
func (w *writer) WriteHeaderNow() {
	if !w.Written() {
		w.begun = true
		w.out.WriteHeader(w.Status())
	}
}

// Write commits before the first byte.
func (w *writer) Write(b []byte) (int, error) {
	w.WriteHeaderNow()
	return w.out.Write(b)
}

// WriteString commits before the first byte.
func (w *writer) WriteString(s string) (int, error) {
	w.WriteHeaderNow()
	return io.WriteString(w.out, s)
}

// Flush commits, and flushes.
func (w *writer) Flush() {
	w.WriteHeaderNow()
	_ = http.NewResponseController(w.out).Flush()
}

// Hijack commits, and takes the connection over.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.out).Hijack()
}

// Unwrap is for [http.ResponseController], and for code that sends an informational
// header.
func (w *writer) Unwrap() http.ResponseWriter { return w.out }

// Pusher returns Gin's or, while isBeneath asks, found.
func (w *writer) Pusher() http.Pusher {
	if w.asked {
		return found{}
	}
	return w.ResponseWriter.Pusher()
}

// found is the answer to isBeneath.
type found struct{ http.Pusher }

// isBeneath reports whether the writer on top passes its calls on to w. Writers of Gin's
// middlewares embed the one that they wrap and have no Unwrap. So isBeneath calls a
// method that they pass on, Pusher, and sees whether w answers.
func (w *writer) isBeneath(top gin.ResponseWriter) bool {
	w.asked = true
	_, ok := top.Pusher().(found)
	w.asked = false
	return ok
}

// direct is the writer that the session's writer sends to: Gin's, but its WriteHeader
// sends at once.
type direct writer

// WriteHeader sends the header.
func (d *direct) WriteHeader(status int) {
	if status < http.StatusOK && status != http.StatusSwitchingProtocols {
		if u, ok := d.ResponseWriter.(interface{ Unwrap() http.ResponseWriter }); ok {
			u.Unwrap().WriteHeader(status) // Gin's own would take it for the final one
		}
		return
	}
	d.ResponseWriter.WriteHeader(status)
	d.WriteHeaderNow()
}

// GoesAround is for [session.Manager.Serve]: it reports whether writes to d do not come
// to outer. That is so after HandleContext, which runs a chain with the writer of the
// server.
func (d *direct) GoesAround(outer http.ResponseWriter) bool {
	o, ok := outer.(*direct)
	return ok && o.c == d.c && !(*writer)(o).isBeneath(d.ResponseWriter)
}

// Unwrap is for [http.ResponseController].
func (d *direct) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// answered is the writer of a complete response, and drops all writes. The usual
// middleware that answers c.Errors does not check whether the response was sent: it would
// send a second body behind the first.
type answered struct{ gin.ResponseWriter }

// WriteHeader does nothing.
func (answered) WriteHeader(int) {}

// Write drops the bytes.
func (answered) Write(b []byte) (int, error) { return len(b), nil }

// WriteString drops the text.
func (answered) WriteString(s string) (int, error) { return len(s), nil }

// Unwrap is for [http.ResponseController].
func (a answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }
