package request

import (
	"net/http"
	"strings"
)

// IsPage reports whether a browser will show the answer as a page. A browser says so by
// Sec-Fetch-Mode or, where it does not send that field (without TLS, say), by asking for
// text/html. A client that does neither is a program. Forms count: what a form left open
// too long has sent is lost in any case, and a redirect shows the way on.
func IsPage(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	for _, line := range r.Header["Accept"] {
		if strings.Contains(strings.ToLower(line), "text/html") {
			return true
		}
	}
	return false
}

// bodyFields say something of a body that a refusal replaces, or lead away from it.
var bodyFields = []string{
	"Content-Length", "Content-Encoding", "Content-Type", "Etag", "Last-Modified", "Cache-Control", "Location",
}

// Retract deletes what a handler said of the response that is not coming.
func Retract(h http.Header) {
	for _, field := range bodyFields {
		delete(h, field)
	}
}
