package demotest

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
)

// An Answer is a response that was read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Send sends a request on a connection of its own. The header is name, value, name,
// value.
func Send(t *testing.T, method, url, body string, header ...string) Answer {
	t.Helper()
	return send(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, method, url, body, header)
}

func send(t *testing.T, client *http.Client, method, url, body string, header []string) Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return Answer{resp.StatusCode, resp.Header, string(text)}
}

// A Visitor is a browser with a cookie jar that follows no redirects. The pages that it
// gets must have a content security policy.
type Visitor struct {
	T      *testing.T
	Base   string // of the site, http://host:port
	client *http.Client
}

// Visit returns a visitor without cookies.
func Visit(t *testing.T, base string) *Visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &Visitor{t, base, &http.Client{
		Jar: jar, Transport: transport, Timeout: 60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Send sends a request as a browser does. The header is name, value, name, value.
func (v *Visitor) Send(method, path string, form url.Values, header ...string) Answer {
	v.T.Helper()
	browser := []string{"Accept", "text/html,*/*"}
	if method == http.MethodPost {
		browser = append(browser, "Content-Type", "application/x-www-form-urlencoded")
	}
	a := send(v.T, v.client, method, v.Base+path, form.Encode(), append(browser, header...))
	if a.Header.Get("Content-Security-Policy") == "" {
		v.T.Errorf("%s %s: %d without a Content-Security-Policy", method, path, a.Status)
	}
	return a
}

// Open asks for a page.
func (v *Visitor) Open(path string) Answer { v.T.Helper(); return v.Send("GET", path, nil) }

// Submit sends a form, whose fields are name, value, name, value.
func (v *Visitor) Submit(path string, fields ...string) Answer {
	v.T.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return v.Send("POST", path, form)
}

// Cookie returns the value of the one cookie that a site sets, "" if there is none.
func (v *Visitor) Cookie() string {
	v.T.Helper()
	base, err := url.Parse(v.Base)
	if err != nil {
		v.T.Fatal(err)
	}
	for _, c := range v.client.Jar.Cookies(base) {
		return c.Value
	}
	return ""
}

// ShownPassword returns the password of a demo user, which the page of the login shows.
func ShownPassword(t *testing.T, page Answer, name string) string {
	t.Helper()
	found := regexp.MustCompile(`<dt>` + name + `</dt><dd><code>([^<]+)</code>`).FindStringSubmatch(page.Body)
	if found == nil {
		t.Fatalf("the page shows no password of %s: %s", name, page.Body)
	}
	return found[1]
}

// BackSoon sends requests until a site whose Redis is back answers with a page. On a
// machine that is not busy the site does so within a second; BackSoon reports if it takes
// longer.
func BackSoon(t *testing.T, ask func() Answer) {
	t.Helper()
	still, began := redistest.WatchStandstill(t), time.Now()
	for ask().Status != http.StatusOK {
		if time.Since(began) > time.Minute {
			t.Fatal("not back after a minute")
		}
		time.Sleep(20 * time.Millisecond)
	}
	still.Within(t, "to be back", began, time.Second)
}

// AtOnce sends n requests at once and counts the statuses of their answers.
func AtOnce(n int, request func() Answer) map[int]int {
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex // guards got
		got = map[int]int{}
	)
	for range n {
		wg.Go(func() {
			a := request()
			mu.Lock()
			defer mu.Unlock()
			got[a.Status]++
		})
	}
	wg.Wait()
	return got
}
