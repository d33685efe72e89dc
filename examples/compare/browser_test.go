package compare

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
)

// A page is the answer to a request.
type page struct {
	status int
	body   string
	cookie string // name=value that the browser has afterwards
	set    bool   // the response sets or removes a cookie
}

func (p page) loggedIn() bool { return strings.Contains(p.body, "user=alice") }

// alive reports whether a cookie belongs to a session of alice. If it gets an error page,
// it returns an error.
func (s site) alive(cookie string) (bool, error) {
	p := s.get("/", cookie)
	if p.status != http.StatusOK {
		return false, fmt.Errorf("a page answers %d", p.status)
	}
	return p.loggedIn(), nil
}

// get asks for a page with the cookie that the browser has.
func (s site) get(path, cookie string) page { return s.getIn(context.Background(), path, cookie) }

func (s site) getIn(ctx context.Context, path, cookie string) page {
	r, w := httptest.NewRequestWithContext(ctx, "GET", path, nil), httptest.NewRecorder()
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	s.ServeHTTP(w, r)
	p := page{status: w.Code, body: w.Body.String(), cookie: cookie}
	for _, c := range w.Result().Cookies() {
		p.set, p.cookie = true, c.Name+"="+c.Value
	}
	return p
}

// login begins a new session of a user.
func (s site) login(user string) (page, error) {
	p := s.get("/login?user="+user, "")
	if p.status != http.StatusOK || p.cookie == "" {
		return p, fmt.Errorf("login answers %d", p.status)
	}
	return p, nil
}

// held starts a request that waits between reading its session and changing it. It
// returns when the request is there, or has ended without getting there; done gives its
// page.
func (s site) held(path, cookie string) (there bool, release func(), done <-chan page) {
	g := gate{make(chan struct{}, 1), make(chan struct{})}
	pages, ended := make(chan page, 1), make(chan struct{})
	go func() {
		defer close(ended)
		pages <- s.getIn(context.WithValue(context.Background(), gateKey{}, g), path, cookie)
	}()
	select {
	case <-g.loaded:
		there = true
	case <-ended:
	}
	return there, func() { close(g.release) }, pages
}
