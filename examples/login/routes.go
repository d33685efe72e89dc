package main

import (
	"embed"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
)

// A route is a part of the site, whatever framework serves it.
type route struct {
	method  string // GET stands for HEAD as well
	pattern string // as of [http.ServeMux]; a {parameter} is one segment
	level   int    // the session needs it: guest, loggedIn or confirmed
	serve   http.HandlerFunc
}

//go:embed static
var static embed.FS

func (a *app) routes() []route {
	return []route{
		{"GET", "/{$}", guest, a.page(a.home)},
		{"POST", "/theme", guest, a.page(a.setTheme)},
		{"POST", "/login", guest, a.page(a.login)},
		{"POST", "/logout", guest, a.logout},
		{"GET", "/devices", loggedIn, a.page(a.devices)},
		{"POST", "/devices/{id}/revoke", confirmed, a.page(a.whenConfirmed(a.revoke))},
		{"POST", "/devices/revoke-others", confirmed, a.page(a.whenConfirmed(a.revokeOthers))},
		{"GET", "/confirm", loggedIn, a.page(a.askPassword)},
		{"POST", "/confirm", loggedIn, a.page(a.confirm)},
		{"GET", "/account", confirmed, a.page(a.whenConfirmed(a.account))},
		{"POST", "/account", confirmed, a.page(a.whenConfirmed(a.changeAccount))},
		{"GET", "/static/{file}", guest, http.FileServerFS(static).ServeHTTP},
	}
}

// frameworks mount the routes behind the sessions and guards of their adapter. A site
// needs only one of them.
var frameworks = map[string]func(*app, []route) http.Handler{
	"nethttp": onNetHTTP, "echo": onEcho, "echo5": onEcho5, "gin": onGin,
}

// handler returns the site, served by a framework.
func (a *app) handler(framework string, routes []route) (http.Handler, error) {
	mount, ok := frameworks[framework]
	if !ok {
		return nil, fmt.Errorf("-framework is %q, not nethttp, echo, echo5 or gin", framework)
	}
	return headers(a.recovered(http.MaxBytesHandler(mount(a, routes), 16<<10))), nil
}

// headers sets the fields of every response of the site.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// recovered answers when a page panics, instead of closing the connection.
func (a *app) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				a.fail(w, r, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// byLevel returns the guards for each level, the outermost first, in the framework's type
// for middlewares.
func byLevel[M any](user, recent M) map[int][]M {
	return map[int][]M{loggedIn: {user}, confirmed: {user, recent}}
}

// methods returns the methods that a route answers.
func (r route) methods() []string {
	if r.method == http.MethodGet {
		return []string{http.MethodGet, http.MethodHead} // frameworks do not answer HEAD by themselves
	}
	return []string{r.method}
}

// colons returns the pattern in the form that Echo and Gin read.
func (r route) colons() string {
	return strings.NewReplacer("{$}", "", "{", ":", "}", "").Replace(r.pattern)
}
