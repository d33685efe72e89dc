package gategin

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"
)

// writer is Gin's, and sends through the session's what Gin's would send itself. Gin
// records a status first, and may still change its mind; that and the rest is the
// embedded writer's.
type writer struct {
	gin.ResponseWriter
	out   http.ResponseWriter // commits, and sends to a direct
	begun bool                // out has the header, and may hold it
	c     *gin.Context        // whose writer it is
	asked bool                // by isBeneath
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

// Write commits ahead of the first byte.
func (w *writer) Write(b []byte) (int, error) {
	w.WriteHeaderNow()
	return w.out.Write(b)
}

// WriteString commits ahead of the first byte.
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

// Unwrap is for [http.ResponseController], and for who sends an informational header.
func (w *writer) Unwrap() http.ResponseWriter { return w.out }

// Pusher is Gin's, but for isBeneath.
func (w *writer) Pusher() http.Pusher {
	if w.asked {
		return found{}
	}
	return w.ResponseWriter.Pusher()
}

// found is the answer to isBeneath.
type found struct{ http.Pusher }

// isBeneath reports whether the writer on top passes its calls on to w. Middlewares of
// Gin embed the writer that they wrap and have no Unwrap, so it is asked for something
// that they pass on.
func (w *writer) isBeneath(top gin.ResponseWriter) bool {
	w.asked = true
	_, ok := top.Pusher().(found)
	w.asked = false
	return ok
}

// direct is the writer beneath the session's: Gin's, whose WriteHeader sends.
type direct writer

// WriteHeader sends the header.
func (d *direct) WriteHeader(status int) {
	if status < http.StatusOK && status != http.StatusSwitchingProtocols {
		if u, ok := d.ResponseWriter.(interface{ Unwrap() http.ResponseWriter }); ok {
			u.Unwrap().WriteHeader(status) // Gin's own takes the first header for the last
		}
		return
	}
	d.ResponseWriter.WriteHeader(status)
	d.WriteHeaderNow()
}

// GoesAround is for [session.Manager.Serve]. HandleContext begins the chain again with
// the writer of the server.
func (d *direct) GoesAround(outer http.ResponseWriter) bool {
	o, ok := outer.(*direct)
	return ok && o.c == d.c && !(*writer)(o).isBeneath(d.ResponseWriter)
}

// Unwrap is for [http.ResponseController].
func (d *direct) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// answered is the writer of a response that is complete. It drops what is written after
// it: the usual middleware that answers c.Errors does not ask whether somebody has, and
// would send a second body behind the first.
type answered struct{ gin.ResponseWriter }

// WriteHeader does nothing.
func (answered) WriteHeader(int) {}

// Write drops the bytes.
func (answered) Write(b []byte) (int, error) { return len(b), nil }

// WriteString drops the text.
func (answered) WriteString(s string) (int, error) { return len(s), nil }

// Unwrap is for [http.ResponseController].
func (a answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }
