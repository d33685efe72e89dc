package gatekit_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
)

func TestRefusal(t *testing.T) {
	reason := errors.New("session: nobody is logged in")
	for _, c := range []struct {
		name          string
		refusal       gatekit.Refusal
		text, problem string
	}{
		{"a reason", gatekit.Refusal{Status: 401, Err: reason}, "session: nobody is logged in (refused with 401)",
			`{"type":"about:blank","title":"Unauthorized","status":401}`},
		{"a quota", gatekit.Refusal{Status: 429, Violated: []string{"api-hour", "ip"}, Detail: "Wait."},
			"gatekit: refused with 429 by api-hour, ip",
			`{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota Exceeded","status":429,` +
				`"detail":"Wait.","violated-policies":["api-hour","ip"]}`},
		{"no capacity", gatekit.Refusal{Status: 503, Violated: []string{"login"}}, "gatekit: refused with 503 by login",
			`{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",` +
				`"title":"Temporary Reduced Capacity","status":503,"violated-policies":["login"]}`},
		{"a detail with signs", gatekit.Refusal{Status: 403, Detail: "\"<a>\" \\ \x01 \u00e9"}, "gatekit: refused with 403",
			`{"type":"about:blank","title":"Forbidden","status":403,"detail":"\"\u003ca\u003e\" \\ \u0001 ` + "\u00e9" + `"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.refusal.Error(); got != c.text {
				t.Errorf("Error: got %q, want %q", got, c.text)
			}
			b, err := json.Marshal(&c.refusal)
			if err != nil || string(b) != c.problem {
				t.Errorf("JSON: got %s, %v, want %s", b, err, c.problem)
			}
			if c.refusal.StatusCode() != c.refusal.Status || c.refusal.Err != nil && !errors.Is(&c.refusal, c.refusal.Err) {
				t.Error("the status or the reason is hidden")
			}
		})
	}
}

func TestRefusalAnswers(t *testing.T) {
	refusal := gatekit.Refusal{Status: 401, Challenge: "Session", RetryAfter: time.Second + 1, Detail: "Log in first.", Err: errors.New("secret")}
	for _, c := range []struct {
		name, method, mode, accept string
		refusal                    gatekit.Refusal
		status                     int
		mediaType, body            string
	}{
		{"a program", "GET", "", "*/*", refusal, 401, "application/problem+json", `{"type":"about:blank","title":"Unauthorized"`},
		{"a program's HEAD", "HEAD", "", "", refusal, 401, "application/problem+json", ""},
		{"a script in a page", "GET", "cors", "text/html", refusal, 401, "application/problem+json", `{"type":`},
		{"a page", "GET", "navigate", "*/*", refusal, 401, "text/plain; charset=utf-8", "Unauthorized. Log in first.\n"},
		{"a page without TLS", "POST", "", "text/html,*/*", refusal, 401, "text/plain; charset=utf-8", "Unauthorized. Log in first.\n"},
		{"a redirect", "GET", "", "text/html", gatekit.Refusal{Status: 303, Location: "/login?next=%2F"}, 303, "text/html; charset=utf-8", "<a href="},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, r := httptest.NewRecorder(), httptest.NewRequest(c.method, "/", nil)
			r.Header.Set("Accept", c.accept)
			if c.mode != "" {
				r.Header.Set("Sec-Fetch-Mode", c.mode)
			}
			h := w.Header()
			h.Set("Content-Encoding", "gzip") // of the body that is not coming
			h.Set("Content-Length", "7")
			h.Set("Etag", `"x"`)
			h.Set("Cache-Control", "max-age=60")
			c.refusal.Answer(w, r)
			if body := w.Body.String(); w.Code != c.status || !strings.HasPrefix(body, c.body) || (c.body == "") != (body == "") || strings.Contains(body, "secret") {
				t.Errorf("got %d %q, want %d %q", w.Code, body, c.status, c.body)
			}
			if h.Get("Content-Type") != c.mediaType || h.Get("Cache-Control") != "no-store" || h.Get("Etag")+h.Get("Content-Encoding") != "" || h.Get("Content-Length") == "7" {
				t.Errorf("got the fields %v, want %s and nothing of the handler's body", h, c.mediaType)
			}
			if c.status == http.StatusUnauthorized && (h.Get("WWW-Authenticate") != "Session" || h.Get("Retry-After") != "2") {
				t.Errorf("got the fields %v, want the challenge and 2 s", h)
			}
			if h.Get("Location") != c.refusal.Location {
				t.Errorf("got Location %q, want %q", h.Get("Location"), c.refusal.Location)
			}
		})
	}
}
