package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gatehttp"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// A site changes the attributes of its cookie. The browser keeps the old cookie beside
// the new one and sends both, the old one long after its session has ended. A visitor who
// logs in is logged in all the same.
func TestBrowserKeepsCookiesOfOldAttributes(t *testing.T) {
	t.Parallel()
	chromium := browser(t)
	const name = "__Secure-id"
	plain := session.Cookie{Name: name}
	for _, c := range []struct {
		name        string
		before, now session.Cookie
	}{
		{"partitioned since", plain, session.Cookie{Name: name, Partitioned: true, SameSite: http.SameSiteNoneMode}},
		{"another path", session.Cookie{Name: name, Path: "/app"}, plain},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, prefix := redistest.Embedded(t), redistest.Prefix(t)
			manager := func(cfg session.Options) *session.Manager {
				kv := kvtest.Open(t, server.Client(t), gatekit.Options{Prefix: prefix, Budget: 5 * time.Second})
				m, err := session.New(kv, cfg)
				if err != nil {
					t.Fatal(err)
				}
				return m
			}
			before, now := manager(session.Options{Cookie: c.before}), manager(session.Options{Cookie: c.now})
			tidy := manager(session.Options{Cookie: c.now, OldCookies: []session.Cookie{c.before}})
			var current atomic.Pointer[session.Manager]
			current.Store(before)
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				m := current.Load()
				gatehttp.Sessions(m)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					s, err := session.From(r.Context())
					if err == nil && strings.HasSuffix(r.URL.Path, "/login") {
						err = s.Login(r.Context(), "alice", session.LoginOptions{Remember: true})
					}
					if err != nil {
						m.Refuse(w, r, err)
						return
					}
					w.Header().Set("Content-Type", "text/html")
					_, _ = io.WriteString(w, fmt.Sprintf("<link rel=icon href=data:,><p>%q by %d</p>", s.UserID(), strings.Count(r.Header.Get("Cookie"), name+"=")))
				})).ServeHTTP(w, r)
			}))
			t.Cleanup(site.Close)
			page := newTab(t, chromium, site.URL)
			see := func(path, want string) {
				t.Helper()
				page.open(path)
				page.wantText("p", want)
			}
			see("/app/login", `"alice" by 0`)
			see("/app/", `"alice" by 1`)
			current.Store(now)
			see("/app/", `"alice" by 1`) // the change by itself logs nobody out
			if _, err := now.RevokeUser(t.Context(), "alice"); err != nil {
				t.Fatal(err)
			}
			see("/app/", `"" by 1`)
			see("/app/login", `"alice" by 1`)
			see("/app/", `"alice" by 2`)
			if infos, _, err := now.List(t.Context(), "alice", ""); err != nil || len(infos) != 1 {
				t.Errorf("%d devices (%v), want 1", len(infos), err)
			}
			current.Store(tidy)
			see("/app/login", `"alice" by 2`)
			see("/app/", `"alice" by 1`)
		})
	}
}
