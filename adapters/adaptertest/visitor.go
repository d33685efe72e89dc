package adaptertest

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// visitor is a client with cookies of its own. It follows no redirects.
type visitor struct {
	w      *world
	client *http.Client
}

func (w *world) visitor() *visitor {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	transport := w.server.Client().Transport.(*http.Transport).Clone()
	w.t.Cleanup(transport.CloseIdleConnections)
	return &visitor{w, &http.Client{Transport: transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// regular returns a visitor with a session whose color is blue. member returns one who is
// also logged in as alice.
func (w *world) regular() *visitor {
	w.t.Helper()
	v := w.visitor()
	v.do("POST", "/set?color=blue").wants(w.t, 200, "").cookies(w.t, 1)
	return v
}

func (w *world) member() *visitor {
	w.t.Helper()
	v := w.visitor()
	v.do("POST", "/login").wants(w.t, 200, "").cookies(w.t, 1)
	v.do("POST", "/set?color=blue").wants(w.t, 200, "").cookies(w.t, 0)
	return v
}

// answer is a response that was read to its end.
type answer struct {
	what   string // the request
	proto  string
	status int
	header http.Header
	body   string
}

// request returns a request; header is a list of names and values.
func (v *visitor) request(ctx context.Context, method, path string, header ...string) *http.Request {
	v.w.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, v.w.server.URL+path, nil)
	if err != nil {
		v.w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// try sends a request and reads the response to its end, or to where it breaks off.
func (v *visitor) try(r *http.Request) (answer, error) {
	resp, err := v.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{r.Method + " " + r.URL.Path, resp.Proto, resp.StatusCode, resp.Header, string(body)}, err
}

func (v *visitor) do(method, path string, header ...string) answer {
	v.w.t.Helper()
	a, err := v.try(v.request(context.Background(), method, path, header...))
	if err != nil {
		v.w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// wants checks status and body; the body "*" is any.
func (a answer) wants(t testing.TB, status int, body string) answer {
	t.Helper()
	if a.status != status || body != "*" && a.body != body {
		t.Errorf("%s: got %d %q, want %d %q", a.what, a.status, a.body, status, body)
	}
	return a
}

// cookies checks that the response sets n cookies and removes none, and that no shared
// cache keeps it.
func (a answer) cookies(t testing.TB, n int) answer {
	t.Helper()
	lines := a.header.Values("Set-Cookie")
	if len(lines) != n || slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "Max-Age=0") }) {
		t.Errorf("%s: got Set-Cookie %q, want %d", a.what, lines, n)
	}
	if n > 0 && !strings.Contains(strings.Join(a.header.Values("Cache-Control"), ","), "no-store") {
		t.Errorf("%s: a response with a cookie has Cache-Control %q, want no-store", a.what, a.header.Values("Cache-Control"))
	}
	return a
}

// has checks that a field occurs once with the value; "" means that it must not occur.
func (a answer) has(t testing.TB, name, value string) answer {
	t.Helper()
	got := a.header.Values(name)
	if value == "" && len(got) > 0 || value != "" && !slices.Equal(got, []string{value}) {
		t.Errorf("%s: got %s %q, want %q", a.what, name, got, value)
	}
	return a
}

// sees checks the visitor's user and the session's color, by a request that changes
// nothing.
func (v *visitor) sees(t testing.TB, user, color string) {
	t.Helper()
	v.w.settled()
	v.do("GET", "/value").wants(t, 200, user+":"+color).cookies(t, 0)
}

// cookie returns the cookie that the visitor's requests carry.
func (v *visitor) cookie() string {
	v.w.t.Helper()
	u, err := url.Parse(v.w.server.URL)
	if err != nil {
		v.w.t.Fatal(err)
	}
	var all []string
	for _, c := range v.client.Jar.Cookies(u) {
		all = append(all, c.String())
	}
	return strings.Join(all, "; ")
}
