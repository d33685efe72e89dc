package session

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// nextField is the parameter that names where a visitor wanted to go.
const nextField = "next"

// maxNext is the longest path and query that Next returns, in bytes. Servers and browsers
// take longer URLs, but no page needs them.
const maxNext = 2048

// Next returns the page that the visitor wanted before a guard redirected them to a login
// page. The handler of the login form calls it. It reads the field next of the form or of
// the URL: the path and the query of a page on this site. The visitor may have changed
// the field, or somebody may have made a link with it. If the field is missing, or could
// lead to another site, Next returns the fallback.
//
//	http.Redirect(w, r, session.Next(r, "/"), http.StatusSeeOther)
//
// The login page must pass the field on: its form posts to its own URL, query included,
// or has a hidden field of that name.
func Next(r *http.Request, fallback string) string {
	if next := r.FormValue(nextField); isLocal(next) {
		return next
	}
	return fallback
}

// isLocal reports whether a redirect to the address keeps the browser on the site,
// however the browser and the servers ahead of us read it. Browsers drop tabs and line
// ends, and read \ as /. An address that begins with // names a host. Some servers decode
// or clean a path, and redirect to the result. So the path may have no two slashes in a
// row and no dot segments, encoded or not.
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
	if segments[last] == "" { // the path ends with a slash
		segments = segments[:last]
	}
	return !slices.ContainsFunc(segments, func(s string) bool { return s == "" || s == "." || s == ".." })
}

// withNext returns the address of the page there, with the field next for the way back to
// the requested page. Only a page that was requested by GET or HEAD gets a way back,
// because following a link does not send a form again. The page there itself gets none.
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
