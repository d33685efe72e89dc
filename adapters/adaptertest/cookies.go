package adaptertest

import (
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
)

// severalCookies: a browser sends two cookies of our name, because the program once
// changed their attributes.
func severalCookies(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	w.mount("POST", "/logout", k.logout(w.m, "/"))
	w.start()
	ended := w.member()
	dead := ended.cookie()
	ended.page("POST", "/logout").wants(t, 303, "*")
	neverGiven := "id=1AA" + strings.Repeat("a", 65) // well-formed
	brings := func(method, path string, cookies ...string) answer {
		header := []string{}
		for _, c := range cookies {
			header = append(header, "Cookie", c)
		}
		w.settled()
		return w.visitor().do(method, path, header...)
	}
	living := w.member().cookie()
	for _, other := range []string{dead, neverGiven} {
		brings("GET", "/value", other, living).wants(t, 200, "alice:blue").cookies(t, 0)
		brings("GET", "/value", living, other).wants(t, 200, "alice:blue").cookies(t, 0)
		brings("POST", "/set?color=red", living, other).wants(t, 200, "").cookies(t, 0)
		brings("POST", "/set?color=blue", other, living).wants(t, 200, "").cookies(t, 0)
	}
	brings("GET", "/value", dead, neverGiven).wants(t, 200, ":")
	// The browser sends the old cookie for as long as it keeps it. A login still counts.
	v := w.visitor()
	v.do("POST", "/login", "Cookie", dead).wants(t, 200, "").cookies(t, 1)
	brings("GET", "/value", dead, v.cookie()).wants(t, 200, "alice:")

	// If two are alive, nobody knows which one the user meant. The visitor is a guest
	// until the next login, which ends both.
	first, second := w.member().cookie(), w.regular().cookie()
	brings("GET", "/value", first, second).wants(t, 200, ":").cookies(t, 0)
	brings("GET", "/value", second, first).wants(t, 200, ":").cookies(t, 0)
	brings("GET", "/value", first).wants(t, 200, "alice:blue")
	brings("POST", "/login", first, second).wants(t, 200, "").cookies(t, 1)
	brings("GET", "/value", first).wants(t, 200, ":")
	brings("GET", "/value", second).wants(t, 200, ":")
}
