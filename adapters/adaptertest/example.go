package adaptertest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// Embedded returns a manager and a limiter on a Redis inside the process, for examples.
// It panics if it can't start one. Programs connect to their own Redis: see
// gatekit.Connect.
func Embedded() (manager *session.Manager, limiter *ratelimit.Limiter, stop func()) {
	server, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	server.SetTime(time.Now()) // its clock stands still, so that an example prints the same each time
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	kv, err := gatekit.Open(client, gatekit.Options{Budget: 5 * time.Second})
	if err != nil {
		panic(err)
	}
	if manager, err = session.New(kv, session.Options{}); err != nil {
		panic(err)
	}
	if limiter, err = ratelimit.New(kv, ratelimit.Options{}); err != nil {
		panic(err)
	}
	return manager, limiter, func() {
		_ = client.Close()
		server.Close()
	}
}

// Visit sends requests such as "POST /login" as one browser. Of each response it prints
// the status and, if they are shorter than 40 bytes and no HTML, the Location, the
// RateLimit field and the body.
func Visit(h http.Handler, requests ...string) {
	cookies := map[string]*http.Cookie{}
	for _, line := range requests {
		method, target, _ := strings.Cut(line, " ")
		r, w := httptest.NewRequest(method, target, nil), httptest.NewRecorder()
		r.Header.Set("Accept", "text/html")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		h.ServeHTTP(w, r)
		resp := w.Result()
		for _, c := range resp.Cookies() {
			cookies[c.Name] = c
		}
		said := []any{line, resp.StatusCode}
		for _, text := range []string{resp.Header.Get("Location"), resp.Header.Get("RateLimit"), strings.TrimSpace(w.Body.String())} {
			if text != "" && len(text) < 40 && text[0] != '<' {
				said = append(said, text)
			}
		}
		fmt.Println(said...)
	}
}
