package main

import (
	_ "embed"
	"html/template"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gatekit/gatekit/ratelimit"
)

// A route answers GET and HEAD of a path, whatever framework serves it.
type route struct {
	pattern string           // as of [http.ServeMux]
	rules   []ratelimit.Rule // none: not limited
	serve   http.HandlerFunc
}

func routes(redisName string) []route {
	hello := ratelimit.Rule{
		Policy: ratelimit.MustPolicy("hello", ratelimit.Per(5, 10*time.Second), ratelimit.PerHour(100)),
		Key:    ratelimit.MustByIP(ratelimit.IPOptions{}),
	}
	return []route{
		{"/hello", []ratelimit.Rule{hello}, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "hello\n")
		}},
		{"/{$}", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_ = page.Execute(w, redisName) // fails only when the browser has gone
		}},
	}
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// frameworks mount the routes behind the limits of their adapter. A server needs only one
// of them.
var frameworks = map[string]func(*ratelimit.Limiter, []route) http.Handler{
	"nethttp": onNetHTTP, "echo": onEcho, "echo5": onEcho5, "gin": onGin,
}

// methods are the methods that a route answers. [http.ServeMux] answers HEAD as GET by
// itself, other frameworks don't.
var methods = []string{http.MethodGet, http.MethodHead}

// path returns the pattern in the form that Echo and Gin read.
func (r route) path() string { return strings.TrimSuffix(r.pattern, "{$}") }
