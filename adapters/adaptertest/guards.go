package adaptertest

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// guards: which visitors get past, and how the others are answered.
func guards(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	page := func(rw http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		if err != nil {
			return err
		}
		return second(io.WriteString(rw, s.UserID()))
	}
	const stale = time.Nanosecond // every login is older than that a millisecond later
	w.group("/group", k.requireLogin(w.m, "/enter"))
	w.on("GET", "/page", page)
	w.on("POST", "/page", page)
	w.group("")
	w.on("GET", "/page", page, k.requireLogin(w.m, "/enter"))
	w.on("POST", "/page", page, k.requireLogin(w.m, "/enter"))
	w.on("GET", "/api", page, k.requireLogin(w.m, ""))
	w.on("GET", "/fresh", page, k.requireFresh(w.m, time.Hour, "/again"))
	w.on("GET", "/stale", page, k.requireFresh(w.m, stale, "/again"))
	w.on("POST", "/stale", page, k.requireFresh(w.m, stale, "/again"))
	w.on("GET", "/stale-api", page, k.requireFresh(w.m, stale, ""))
	w.on("GET", "/strong", page, k.requireLevel(w.m, 2, "/again"))
	w.on("GET", "/weak", page, k.requireLevel(w.m, 1, "/again"))
	w.start()
	guest, member := w.visitor(), w.member()
	forged := w.visitor()
	time.Sleep(2 * time.Millisecond)
	for _, c := range []struct {
		who          *visitor
		method, path string
		header       []string
		status       int
		there        string
	}{
		{guest, "GET", "/page?a=b", browser, 303, "/enter?next=%2Fpage%3Fa%3Db"},
		{guest, "HEAD", "/page", browser, 303, "/enter?next=%2Fpage"},
		{guest, "GET", "/group/page", browser, 303, "/enter?next=%2Fgroup%2Fpage"},
		{guest, "GET", "/page", []string{"Sec-Fetch-Mode", "navigate"}, 303, "/enter?next=%2Fpage"},
		{guest, "GET", "/page", nil, 401, ""}, // no sign of a browser
		{guest, "GET", "/page", []string{"Accept", "*/*"}, 401, ""},
		{guest, "GET", "/page", []string{"Accept", "text/html", "Sec-Fetch-Mode", "cors"}, 401, ""},
		{guest, "POST", "/group/page", nil, 401, ""},
		{guest, "POST", "/page", nil, 401, ""},
		{guest, "POST", "/page", []string{"Accept", "text/html,*/*"}, 303, "/enter"},
		{guest, "GET", "/page", []string{"Sec-Fetch-Mode", "cors"}, 401, ""},
		{guest, "GET", "/api", nil, 401, ""},
		{guest, "GET", "/fresh", nil, 401, ""},
		{guest, "GET", "/stale", nil, 401, ""},
		{forged, "GET", "/api", []string{"Cookie", "id=1forged"}, 401, ""},
		{member, "GET", "/page", nil, 200, ""},
		{member, "GET", "/group/page", nil, 200, ""},
		{member, "POST", "/page", nil, 200, ""},
		{member, "GET", "/api", nil, 200, ""},
		{member, "GET", "/fresh", nil, 200, ""},
		{member, "GET", "/stale", browser, 303, "/again?next=%2Fstale"},
		{member, "GET", "/stale", nil, 403, ""},
		{member, "POST", "/stale", nil, 403, ""},
		{guest, "GET", "/strong", browser, 401, ""},
		{member, "GET", "/strong", browser, 303, "/again?next=%2Fstrong"},
		{member, "GET", "/strong", nil, 403, ""},
		{member, "GET", "/weak", nil, 200, ""},
		{member, "GET", "/stale-api", nil, 403, ""},
	} {
		ran := w.ran.Load()
		a := c.who.do(c.method, c.path, c.header...).cookies(t, 0).has(t, "Location", c.there).has(t, "Vary", "Cookie")
		switch body := a.body; {
		case c.status == 200:
			a.wants(t, 200, "alice")
		case w.ran.Load() > ran:
			t.Errorf("%s: the handler ran: %q", a.what, body)
		case c.status == 303 && c.method == "GET" && !strings.Contains(body, c.there):
			t.Errorf("%s: body %q has no link to %s, as http.Redirect's has", a.what, body, c.there)
		default:
			a.wants(t, c.status, "*").has(t, "Cache-Control", "no-store")
		}
	}
}

// logout: the ready-made handler.
func logout(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	w.mount("POST", "/logout", k.logout(w.m, "/bye"))
	w.mount("GET", "/logout", k.logout(w.m, "/bye"))
	w.start()
	v, other := w.member(), w.member()
	thief := w.visitor()
	stolen := v.cookie()
	v.do("GET", "/logout").wants(t, 405, "*").has(t, "Allow", "POST").cookies(t, 0)
	v.sees(t, "alice", "blue")
	a := v.page("POST", "/logout").wants(t, 303, "*").has(t, "Location", "/bye")
	if lines := a.header.Values("Set-Cookie"); len(lines) != 1 || !strings.Contains(lines[0], "Max-Age=0") || v.cookie() != "" {
		t.Errorf("logout: got Set-Cookie %q, want the one that removes it", lines)
	}
	v.sees(t, "", "")
	thief.do("GET", "/value", "Cookie", stolen).wants(t, 200, ":")
	v.page("POST", "/logout").wants(t, 303, "*").cookies(t, 0) // twice does no harm
	v.do("POST", "/logout").wants(t, 204, "").cookies(t, 0).has(t, "Location", "")
	other.sees(t, "alice", "blue")
}

// logoutEverywhere: the ready-made handler.
func logoutEverywhere(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	w.mount("POST", "/everywhere", k.everywhere(w.m, "/bye"))
	w.mount("GET", "/everywhere", k.everywhere(w.m, "/bye"))
	w.start()
	v, other, guest := w.member(), w.member(), w.regular()
	v.do("GET", "/everywhere").wants(t, 405, "*").has(t, "Allow", "POST").cookies(t, 0)
	other.sees(t, "alice", "blue")
	a := v.page("POST", "/everywhere").wants(t, 303, "*").has(t, "Location", "/bye")
	if lines := a.header.Values("Set-Cookie"); len(lines) != 1 || !strings.Contains(lines[0], "Max-Age=0") || v.cookie() != "" {
		t.Errorf("got Set-Cookie %q, want the one that removes it", lines)
	}
	v.sees(t, "", "")
	other.sees(t, "", "")
	if infos := w.sessionsOf("alice"); len(infos) != 0 {
		t.Errorf("the user has %d sessions, want none", len(infos))
	}
	for _, nobody := range []*visitor{v, other, guest} {
		nobody.do("POST", "/everywhere").wants(t, 401, "*").cookies(t, 0).has(t, "Location", "")
	}
	guest.sees(t, "", "blue")
	v.do("POST", "/login").wants(t, 200, "").cookies(t, 1)
	v.do("POST", "/everywhere").wants(t, 204, "").has(t, "Location", "")
	if infos := w.sessionsOf("alice"); len(infos) != 0 {
		t.Errorf("for an API client: the user has %d sessions, want none", len(infos))
	}
}

// devices: the list of the user's sessions.
func devices(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	w.mount("GET", "/devices", k.devices(w.m))
	w.start()
	v := w.member()
	w.member()
	a := v.do("GET", "/devices").wants(t, 200, "*").cookies(t, 0).has(t, "Cache-Control", "no-store").has(t, "Vary", "Cookie").
		has(t, "X-Content-Type-Options", "nosniff")
	if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
		t.Errorf("got Content-Type %q, want application/json", ct)
	}
	var page session.DevicePage
	if err := json.Unmarshal([]byte(a.body), &page); err != nil {
		t.Fatalf("body %q: %v", a.body, err)
	}
	current := 0
	for _, d := range page.Devices {
		if d.Current {
			current++
		}
		if d.Label != "phone" || d.ID == "" || d.Created.IsZero() {
			t.Errorf("got the device %+v", d)
		}
	}
	if len(page.Devices) != 2 || current != 1 || page.Next != "" {
		t.Errorf("got %+v, want two devices, one of them this one", page)
	}
	v.do("GET", "/devices?cursor=junk").wants(t, 400, "*").has(t, "Cache-Control", "no-store")
	w.visitor().do("GET", "/devices").wants(t, 401, "*").has(t, "Cache-Control", "no-store")
}

// crossOrigin: requests that another site makes a browser send.
func crossOrigin(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	protection := http.NewCrossOriginProtection()
	if err := protection.AddTrustedOrigin("https://partner.example"); err != nil {
		t.Fatal(err)
	}
	w.use = append([]layer{k.crossOrigin(protection)}, w.use...)
	w.start()
	v := w.member()
	for _, c := range []struct {
		method, path string
		header       []string
		status       int
	}{
		{"POST", "/set?color=red", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"POST", "/set?color=red", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"POST", "/set?color=red", []string{"Origin", "https://evil.example"}, 403},
		{"GET", "/value", []string{"Sec-Fetch-Site", "cross-site"}, 200},
		{"POST", "/set?color=blue", []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"POST", "/set?color=blue", []string{"Origin", "https://partner.example"}, 200},
		{"POST", "/set?color=blue", nil, 200}, // no browser
		// The handshake of a WebSocket from a sibling host of the site carries
		// SameSite=Lax cookies.
		{"GET", "/value", []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Fetch-Site", "same-site"}, 403},
		{"GET", "/value", []string{"Connection", "Upgrade", "Upgrade", "websocket", "Origin", "http://sibling.example"}, 403},
		{"GET", "/value", []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Fetch-Site", "same-origin"}, 200},
		{"GET", "/value", []string{"Connection", "Upgrade", "Upgrade", "websocket", "Origin", "https://partner.example"}, 200},
		{"GET", "/value", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 200},
	} {
		v.do(c.method, c.path, c.header...).wants(t, c.status, "*").cookies(t, 0)
		v.sees(t, "alice", "blue")
	}
}
