package gategin

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"
)

// writer is Gin's, and sends through the session's what Gin's would send itself. Gin records a status first, and may still
// change its mind; that and the rest is the embedded writer's.
type writer struct {
	gin.ResponseWriter
	out   http.ResponseWriter // commits, and sends to a direct
	begun bool                // out has the header, and may hold it
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

// Unwrap is for [http.ResponseController].
func (d *direct) Unwrap() http.ResponseWriter { return d.ResponseWriter }
