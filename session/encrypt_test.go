package session_test

import (
	"context"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

func TestEncryptedSessions(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		key := []byte(strings.Repeat("k", 32))
		older := []byte(strings.Repeat("o", 32))
		codec := func(current []byte, older ...[]byte) func(*settings) {
			return func(c *settings) {
				var err error
				if c.Codec, err = session.Encrypt(nil, current, older...); err != nil {
					t.Fatal(err)
				}
				c.Carry = []string{"color"}
			}
		}
		before := newSite(t, srv, codec(older))
		b := before.browser()
		want(t, b.Do("POST", "/set?k=color&v=topsecret"), 200, "")
		want(t, b.Do("GET", "/get?k=color"), 200, "topsecret")
		if strings.Contains(dump(t, before), "topsecret") {
			t.Error("the value lies in the clear")
		}
		st := newSiteOn(t, before.client, before.prefix, codec(key, older))
		move := func(st *site) {
			c := browsertest.NewBrowser(st.handler)
			c.SetCookie(cookieName, b.Cookie(cookieName))
			b = c
		}
		move(st)
		want(t, b.Do("GET", "/get?k=color"), 200, "topsecret")
		want(t, b.Do("POST", "/login?user=alice"), 200, "") // the value moves to another record
		want(t, b.Do("GET", "/get?k=color"), 200, "topsecret")
		st.request(b, func(ctx context.Context, s *session.Session) {
			v, err := color.Update(ctx, s, func(v string) (string, error) { return v + "!", nil })
			if v != "topsecret!" || err != nil {
				t.Errorf("Update: %q, %v", v, err)
			}
			if hits.Add(s, 1) == nil {
				t.Error("a counter under Encrypt")
			}
			if _, err := hits.Get(s); err == nil {
				t.Error("a counter under Encrypt")
			}
			st.check(s.Flash(session.Message{Text: "hidden"}))
		})
		if strings.Contains(dump(t, st), "hidden") {
			t.Error("a flash message lies in the clear")
		}
		// The older key is removed now: values that were written since are under the
		// current one.
		move(newSiteOn(t, before.client, before.prefix, codec(key)))
		want(t, b.Do("GET", "/get?k=color"), 200, "topsecret!")
		// A value that was stored unencrypted does not decrypt: there is no fallback.
		plain := newSite(t, srv)
		pb := plain.browser()
		want(t, pb.Do("POST", "/set?k=color&v=plain"), 200, "")
		sealed := newSiteOn(t, plain.client, plain.prefix, codec(key))
		c := browsertest.NewBrowser(sealed.handler)
		c.SetCookie(cookieName, pb.Cookie(cookieName))
		sealed.request(c, func(ctx context.Context, s *session.Session) {
			if v, ok, err := color.Lookup(s); err == nil || ok || v != "" {
				t.Errorf("plaintext under Encrypt: %q, %v, %v", v, ok, err)
			}
		})
	})
}
