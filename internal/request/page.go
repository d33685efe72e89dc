package request

import (
	"net/http"
	"strings"
)

// IsPage reports whether a browser will show the answer as a page. A browser says so by
// Sec-Fetch-Mode. If it does not send that field (for example without TLS), it asks for
// text/html. A client that does neither is a program. Sending a form counts too: if it is
// refused, its values are lost in any case, and a redirect takes the user on.
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

// bodyFields are header fields that describe the body that a refusal replaces, or lead
// the client away from the refusal.
var bodyFields = []string{
	"Content-Length", "Content-Encoding", "Content-Type", "Etag", "Last-Modified", "Cache-Control", "Location",
}

// Retract deletes the header fields that a handler set for its own response, which a
// refusal replaces.
func Retract(h http.Header) {
	for _, field := range bodyFields {
		delete(h, field)
	}
}
