package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/examples/internal/demo"
	"github.com/gatekit/gatekit/internal/kvtest"

	"github.com/gatekit/gatekit/internal/redistest"
)

// changing matches the parts that differ in any two answers: tokens, ids, times.
var changing = regexp.MustCompile(`[\w-]{68}|[>/][\w-]{22}[</]|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT`)

// The frameworks answer the same requests in the same way: status, header fields and
// page.
func TestFrameworksAnswerAlike(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	want := walk(t, "nethttp")
	for framework := range frameworks {
		got := walk(t, framework)
		for i, step := range want {
			if got[i] != step {
				t.Errorf("%s answered otherwise than nethttp:\n%s", framework, firstDifference(got[i], step))
			}
		}
	}
}

// walk sends requests to a site with a page that panics, and returns the answers as text.
func walk(t *testing.T, framework string) (answers []string) {
	t.Helper()
	redis, err := demo.Connect("", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	a, err := newApp(kvtest.Open(t, redis.Client, gatekit.Options{Budget: 10 * time.Second}), time.Hour, false)
	if err != nil {
		t.Fatal(err)
	}
	broken := func(http.ResponseWriter, *http.Request) { panic("a broken page") }
	site, err := a.handler(framework, append(a.routes(), route{"GET", "/broken", guest, broken}))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(site)
	defer server.Close()
	v := visit(t, server.URL)
	password := demoPasswords[0].Password
	for _, step := range []struct {
		request, form string
		header        []string
		bodyDiffers   bool // the body is the framework's own, with its type and length
	}{
		{request: "GET /"},
		{request: "HEAD /"},
		{request: "GET /nowhere", bodyDiffers: true},
		{request: "GET /devices/", bodyDiffers: true},
		{request: "GET /login", bodyDiffers: true},
		{request: "PUT /nowhere", bodyDiffers: true},
		{request: "POST /", bodyDiffers: true},
		{request: "GET /static/style.css"},
		{request: "HEAD /static/style.css"},
		{request: "GET /static/countdown.js", header: []string{"Range", "bytes=0-9"}},
		{request: "GET /static/none.css"},
		{request: "GET /static/", bodyDiffers: true},
		{request: "GET /broken"},
		{request: "HEAD /broken"},
		{request: "GET /account"},
		{request: "GET /devices", header: []string{"Sec-Fetch-Mode", "cors"}},
		{request: "POST /theme", form: "theme=dark", header: []string{"Sec-Fetch-Site", "cross-site"}},
		{request: "POST /nowhere", header: []string{"Sec-Fetch-Site", "cross-site"}},
		{request: "POST /theme", form: "theme=dark"},
		{request: "POST /login", form: "username=alice&password=" + strings.Repeat("x", 20<<10)},
		{request: "POST /login", form: "username=alice&password=wrong"},
		{request: "POST /login", form: "username=alice&password=" + url.QueryEscape(password)},
		{request: "HEAD /"},
		{request: "GET /"},
		{request: "GET /devices"},
		{request: "POST /devices/none/revoke"},
		{request: "GET /devices"},
		{request: "GET /account"},
		{request: "POST /confirm", form: "password=" + url.QueryEscape(password)},
		{request: "GET /account"},
		{request: "POST /devices/none/revoke"},
		{request: "GET /devices"},
		{request: "POST /account", form: "email=nonsense"},
		{request: "POST /account", form: "email=alice%40example.org"},
		{request: "GET /account"},
		{request: "POST /logout"},
		{request: "GET /account", header: []string{"Sec-Fetch-Mode", "cors"}},
	} {
		method, path, _ := strings.Cut(step.request, " ")
		form, err := url.ParseQuery(step.form)
		if err != nil {
			t.Fatal(err)
		}
		res := v.Send(method, path, form, step.header...)
		if step.bodyDiffers {
			res.Body = ""
			for _, field := range []string{"Content-Type", "Content-Length", "Allow", "Vary", "Cache-Control"} {
				res.Header.Del(field)
			}
		}
		if res.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %s has no Content-Security-Policy", framework, step.request)
		}
		lines := []string{fmt.Sprintf("%s %d", step.request, res.Status)}
		for field, values := range res.Header {
			lines = append(lines, field+": "+strings.Join(values, " | "))
		}
		slices.Sort(lines[1:])
		answers = append(answers, changing.ReplaceAllString(strings.Join(lines, "\n")+"\n\n"+res.Body, "*"))
	}
	return answers
}

// firstDifference returns the request and the first lines that are not the same.
func firstDifference(got, want string) string {
	request, _, _ := strings.Cut(want, "\n")
	for want != "" || got != "" {
		var g, w string
		g, got, _ = strings.Cut(got, "\n")
		w, want, _ = strings.Cut(want, "\n")
		if g != w {
			return fmt.Sprintf("%s: got %q, want %q", request, g, w)
		}
	}
	return request
}
