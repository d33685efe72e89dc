package session

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// nextField is the parameter that names where a visitor wanted to go.
const nextField = "next"

// maxNext bounds a way back, bytes. Servers and browsers take longer URLs, but nobody
// needs them for a page.
const maxNext = 2048

// Next returns where the visitor wanted to go before a guard sent them to a page that
// asks for a login, for the handler of that page's form: the field next of the form or of
// the URL. It is the path and the query of a page on this site. The field is the
// visitor's, or somebody's who made a link for them. A value that could lead anywhere
// else, or is not there, is answered with the fallback.
//
//	http.Redirect(w, r, session.Next(r, "/"), http.StatusSeeOther)
//
// The page itself hands the field on: its form posts to its own URL, query included, or
// has a hidden field of that name.
func Next(r *http.Request, fallback string) string {
	if next := r.FormValue(nextField); isLocal(next) {
		return next
	}
	return fallback
}

// isLocal reports whether a browser that is sent to the address stays on the site,
// whatever it and the servers ahead make of it. Browsers drop tabs and line ends, and
// read \ as /. What begins with // names a host. Some servers decode or clean a path, and
// redirect to what they got: no two slashes and no dot segments, encoded or not.
func isLocal(next string) bool {
	if len(next) > maxNext || !strings.HasPrefix(next, "/") {
		return false
	}
	for i := range len(next) {
		if c := next[i]; c <= ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") {
		return false
	}
	path := u.Path[1:]
	if strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == '\\' || c == 0x7f }) {
		return false
	}
	segments := strings.Split(path, "/")
	last := len(segments) - 1
	if segments[last] == "" { // of a path that ends with a slash
		segments = segments[:last]
	}
	return !slices.ContainsFunc(segments, func(s string) bool { return s == "" || s == "." || s == ".." })
}

// withNext returns the address of the page there with the way back to what the request
// asked for. Only a page that was asked for by GET has a way back: what a form has sent
// is not sent again by following a link. The page there itself is no place to come back
// to.
func withNext(r *http.Request, there string) string {
	wanted := r.RequestURI // as the client sent it, whatever the routers have stripped
	if !strings.HasPrefix(wanted, "/") {
		wanted = r.URL.RequestURI()
	}
	u, err := url.Parse(there)
	if err != nil || r.Method != http.MethodGet && r.Method != http.MethodHead || !isLocal(wanted) {
		return there
	}
	path, _, _ := strings.Cut(wanted, "?")
	if q := u.Query(); path == u.EscapedPath() || q.Has(nextField) {
		return there
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += nextField + "=" + url.QueryEscape(wanted)
	return u.String()
}
