package session_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

func TestBearer(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv, func(c *settings) { c.Bearer = true })
		st.on("/token", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			st.check(s.Login(r.Context(), "alice", session.LoginOptions{Bearer: true, Remember: true}))
			fmt.Fprint(w, s.BearerToken())
		})
		b := st.browser()
		resp := b.Do("POST", "/token")
		token := body(resp)
		if len(token) != 68 || len(resp.Cookies()) > 0 || resp.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("token of %d characters, cookies %v, header %v", len(token), resp.Cookies(), resp.Header)
		}
		send := func(method, path, token string) *http.Response {
			r := st.browser().Request(method, path, nil)
			r.Header.Set("Authorization", "Bearer "+token)
			return st.browser().Send(r)
		}
		want(t, send("GET", "/who", token), 200, "alice")
		want(t, send("POST", "/set?k=color&v=red", token), 200, "")
		want(t, send("GET", "/get?k=color", token), 200, "red")
		st.on("/rotate", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			st.check(s.Rotate(r.Context()))
			fmt.Fprint(w, s.BearerToken())
		})
		next := body(send("POST", "/rotate", token))
		want(t, send("GET", "/who", next), 200, "alice")
		// A request whose bearer token has no session gets no cookie, whatever it sets.
		for _, bad := range []string{"1AA" + strings.Repeat("A", 65)} {
			want(t, send("GET", "/who", bad), 200, "")
			if resp := send("POST", "/set?k=a&v=b", bad); resp.StatusCode != 409 || len(resp.Cookies()) > 0 {
				t.Errorf("set with a bad token: %d with cookies %v", resp.StatusCode, resp.Cookies())
			}
		}
		want(t, send("POST", "/logout", next), 200, "")
		want(t, send("GET", "/who", next), 200, "")
		// BearerToken does not return the token of a cookie.
		st.request(st.login("bob"), func(ctx context.Context, s *session.Session) {
			if s.BearerToken() != "" {
				t.Error("a cookie's token is shown")
			}
		})
		// If Options.Bearer is off, the header is ignored.
		off := newSiteOn(t, st.client, st.prefix)
		r := off.browser().Request("GET", "/who", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		want(t, off.browser().Send(r), 200, "")
		off.request(off.browser(), func(ctx context.Context, s *session.Session) {
			if s.Login(ctx, "alice", session.LoginOptions{Bearer: true}) == nil {
				t.Error("bearer login where Bearer is off")
			}
		})
	})
}
