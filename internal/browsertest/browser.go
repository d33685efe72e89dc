package browsertest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/gatekit/gatekit/session"
)

// Middleware serves sessions as an adapter does, for tests that have no adapter.
func Middleware(m *session.Manager, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = m.Serve(w, r, func(w http.ResponseWriter, r *http.Request) error {
			next.ServeHTTP(w, r)
			return nil
		})
	})
}

// A Browser sends requests to a handler and keeps the cookies of its responses, in the
// order in which they arrive. It is safe for concurrent use: each request has the cookies
// that the browser had when the request began.
type Browser struct {
	handler http.Handler

	mu      sync.Mutex // guards cookies
	cookies map[string]string
}

// NewBrowser returns a browser without cookies.
func NewBrowser(handler http.Handler) *Browser {
	return &Browser{handler: handler, cookies: map[string]string{}}
}

// Clone returns another browser with the same cookies: a thief, or the browser as it was
// before.
func (b *Browser) Clone() *Browser {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := NewBrowser(b.handler)
	for name, value := range b.cookies {
		c.cookies[name] = value
	}
	return c
}

// Cookie returns the value of a cookie, "" if there is none.
func (b *Browser) Cookie(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cookies[name]
}

// SetCookie sets a cookie.
func (b *Browser) SetCookie(name, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cookies[name] = value
}

// Request returns a request with the cookies that the browser has now.
func (b *Browser) Request(method, path string, body io.Reader) *http.Request {
	r := httptest.NewRequest(method, "https://example.com"+path, body)
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

// Send sends the request to the handler and does not keep the response's cookies: the
// response is lost, or arrives later, see [Browser.Keep].
func (b *Browser) Send(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w.Result()
}

// Keep takes the cookies of a response.
func (b *Browser) Keep(resp *http.Response) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
}

// Do sends a request and keeps the cookies of the response.
func (b *Browser) Do(method, path string) *http.Response {
	resp := b.Send(b.Request(method, path, nil))
	b.Keep(resp)
	return resp
}
