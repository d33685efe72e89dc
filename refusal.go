package gatekit

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatekit/gatekit/internal/request"
)

// A Refusal is the answer to a request that must not go on, because a rate limit or a
// guard refused it, or because its session could not be read or written. It is an error,
// for frameworks whose handlers return errors; find it by [errors.As] with a *Refusal.
// Several callers may hold the same Refusal: to change it, change a copy.
type Refusal struct {
	// Status is 303, 400, 401, 403, 405, 409, 413, 429, 500 or 503.
	Status int

	// Location is where a 303 leads; else empty.
	Location string

	// RetryAfter is the value of the Retry-After field, which is in whole seconds: Header
	// rounds it up. 0 means that we do not know when trying again helps, or that it never
	// helps.
	RetryAfter time.Duration

	// Challenge is the WWW-Authenticate of a 401, and Allow the methods of a 405.
	Challenge, Allow string

	// Detail is a sentence for the client, or empty. It holds no secret.
	Detail string

	// Violated are the names of the quotas that denied the request, as in the RateLimit
	// header fields. Empty if no quota denied it.
	Violated []string

	// Err is the reason, nil when nothing failed. It is for logs, not for the client.
	Err error
}

// Error returns the reason, or the quotas that denied the request, and the status. It
// holds no token, key or address.
func (f *Refusal) Error() string {
	answered := "refused with " + strconv.Itoa(f.Status)
	if f.Err != nil {
		return f.Err.Error() + " (" + answered + ")"
	}
	text := "gatekit: " + answered
	if len(f.Violated) > 0 {
		text += " by " + strings.Join(f.Violated, ", ")
	}
	return text
}

// Unwrap returns Err.
func (f *Refusal) Unwrap() error { return f.Err }

// StatusCode returns Status, for frameworks that ask errors for it.
func (f *Refusal) StatusCode() int { return f.Status }

// Header sets the header fields of the answer: Cache-Control: no-store and, where they
// apply, Location, Retry-After, WWW-Authenticate and Allow.
func (f *Refusal) Header(h http.Header) {
	h.Set("Cache-Control", "no-store")
	for _, field := range [...]struct{ name, value string }{
		{"Location", f.Location}, {"Www-Authenticate", f.Challenge}, {"Allow", f.Allow},
	} {
		if field.value != "" {
			h.Set(field.name, field.value)
		}
	}
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((f.RetryAfter-1)/time.Second)+1, 10))
	}
}

// MarshalJSON returns the problem details of RFC 9457, for frameworks that send errors as
// JSON. The media type is application/problem+json.
func (f *Refusal) MarshalJSON() ([]byte, error) { return f.appendProblem(make([]byte, 0, 384)), nil }

// Answer sends the response. Before that it deletes the header fields that a handler set
// for a body of its own. A 303 redirects. A browser that shows the answer as a page gets
// a line of text. Other clients get the problem details.
func (f *Refusal) Answer(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	request.Retract(h)
	f.Header(h)
	if f.Location != "" {
		http.Redirect(w, r, f.Location, f.Status)
		return
	}
	var body []byte
	if request.IsPage(r) {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		body = f.appendLine(body)
	} else {
		h.Set("Content-Type", "application/problem+json")
		body = append(f.appendProblem(make([]byte, 0, 384)), '\n')
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(f.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that has gone is no news
	}
}

func (f *Refusal) appendLine(b []byte) []byte {
	b = append(b, http.StatusText(f.Status)...)
	if f.Detail != "" {
		b = append(append(b, ". "...), f.Detail...)
	}
	return append(b, '\n')
}

// problem returns the type and the title of the problem details. For quotas they are
// those of draft-ietf-httpapi-ratelimit-headers-10.
func (f *Refusal) problem() (typ, title string) {
	switch {
	case len(f.Violated) == 0:
		return "about:blank", http.StatusText(f.Status)
	case f.Status == http.StatusServiceUnavailable:
		return "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity", "Temporary Reduced Capacity"
	}
	return "https://iana.org/assignments/http-problem-types#quota-exceeded", "Quota Exceeded"
}

func (f *Refusal) appendProblem(b []byte) []byte {
	typ, title := f.problem()
	b = appendString(append(b, `{"type":`...), typ)
	b = appendString(append(b, `,"title":`...), title)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(f.Status), 10)
	if f.Detail != "" {
		b = appendString(append(b, `,"detail":`...), f.Detail)
	}
	for i, name := range f.Violated {
		if i == 0 {
			b = append(b, `,"violated-policies":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, name)
	}
	if len(f.Violated) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendString appends s as a JSON string. It allocates only if s needs escapes.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			escaped, _ := json.Marshal(s) // a string has no error
			return append(b, escaped...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
