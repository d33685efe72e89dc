package session_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/lua/luatest"
	"github.com/gatekit/gatekit/session"
	"github.com/gatekit/gatekit/session/sessiontest"
	"github.com/redis/go-redis/v9"
)

// dump returns all keys and values under the prefix.
func dump(t *testing.T, st *site) string {
	t.Helper()
	ctx := context.Background()
	var b strings.Builder
	for _, key := range luatest.Keys(t, st.client, st.prefix) {
		fmt.Fprintln(&b, key)
		switch kind := st.client.Type(ctx, key).Val(); kind {
		case "hash":
			fmt.Fprintln(&b, st.client.HGetAll(ctx, key).Val())
		case "zset":
			fmt.Fprintln(&b, st.client.ZRangeWithScores(ctx, key, 0, -1).Val())
		case "string":
			fmt.Fprintln(&b, st.client.Get(ctx, key).Val())
		default:
			t.Errorf("key %q is a %q", key, kind)
		}
	}
	return b.String()
}

// Everything that a session does is done, and everything that leaves the process but the cookie is searched for tokens.
func TestNoSecretLeavesTheProcess(t *testing.T) {
	each(t, func(t *testing.T, srv *luatest.Server) {
		st := newSite(t, srv, func(c *session.Config) { c.Bearer = true })
		var mu sync.Mutex
		var out, secrets []string
		note := func(texts ...string) {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, texts...)
		}
		say := func(v ...any) {
			mu.Lock()
			defer mu.Unlock()
			for _, x := range v {
				out = append(out, fmt.Sprintf("%v %+v %#v %s %q %x", x, x, x, x, x, x))
				if j, err := json.Marshal(x); err == nil {
					out = append(out, string(j))
				}
			}
		}
		sub := st.client.PSubscribe(t.Context(), st.prefix+"*")
		defer sub.Close()
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		watch, stop := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { _ = st.m.Watch(watch, func(e session.Event) { say(e) }) })
		defer watching.Wait()
		defer stop()
		learn := func(bs ...*sessiontest.Browser) {
			for _, b := range bs {
				if c := b.Cookie(cookieName); c != "" {
					secrets = append(secrets, c)
				}
			}
		}
		b := st.browser()
		step := func(f func(ctx context.Context, s *session.Session)) {
			resp := st.request(b, func(ctx context.Context, s *session.Session) {
				f(ctx, s)
				say(s)
				note(fmt.Sprintf("%v", ctx))
			})
			learn(b)
			note(body(resp), dump(t, st))
		}
		step(func(ctx context.Context, s *session.Session) { st.check(color.Set(s, "red")) })
		step(func(ctx context.Context, s *session.Session) {
			st.check(s.Login(ctx, "alice", session.LoginInfo{Remember: true}))
		})
		step(func(ctx context.Context, s *session.Session) { st.check(s.Rotate(ctx)) })
		step(func(ctx context.Context, s *session.Session) { st.check(hits.Add(s, 1)) })
		step(func(ctx context.Context, s *session.Session) { st.check(s.Elevate(ctx, 2)) })
		step(func(ctx context.Context, s *session.Session) {
			infos, _, err := st.m.List(ctx, "alice", "")
			st.check(err)
			say(infos)
			_, err = s.RevokeOthers(ctx)
			st.check(err)
		})
		old := st.browser()
		old.SetCookie(cookieName, secrets[1]) // replaced twice: a replay
		note(body(old.Do("GET", "/who")))
		b = st.login("alice")
		learn(b)
		step(func(ctx context.Context, s *session.Session) {
			st.check(s.Login(ctx, "alice", session.LoginInfo{Bearer: true}))
			secrets = append(secrets, s.BearerToken())
		})
		b = st.login("alice")
		// Errors of all kinds, a panic among them.
		func() {
			defer func() { say(recover()) }()
			st.on("/panic", func(w http.ResponseWriter, r *http.Request, s *session.Session) { panic(fmt.Sprintf("%v %+v", s, s)) })
			b.Do("GET", "/panic")
		}()
		step(func(ctx context.Context, s *session.Session) { st.check(s.Logout(ctx)) })
		gone, cancel := context.WithTimeout(context.Background(), 0)
		defer cancel()
		_, _, err := st.m.List(gone, "alice", "")
		say(err)
		say(st.m.Revoke(context.Background(), "alice", "nobody"))
		note(st.logs.String())
		for {
			msg, err := sub.ReceiveTimeout(t.Context(), 50*time.Millisecond)
			if err != nil {
				break
			}
			if m, ok := msg.(*redis.Message); ok {
				note(m.Payload)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if len(secrets) < 8 || len(out) < 20 {
			t.Fatalf("only %d secrets, %d texts", len(secrets), len(out))
		}
		all := strings.ToLower(strings.Join(out, "\n"))
		for _, token := range secrets {
			for what, part := range map[string]string{"series": token[3:25], "secret": token[25:]} {
				raw, err := base64.RawURLEncoding.DecodeString(part)
				if err != nil {
					t.Fatal(err)
				}
				for _, form := range []string{part, part[:12], hex.EncodeToString([]byte(part)), hex.EncodeToString(raw), string(raw)} {
					if strings.Contains(all, strings.ToLower(form)) {
						t.Errorf("the %s of a token shows", what)
					}
				}
			}
		}
		for _, clear := range []string{"alice"} { // in the record, but in no key name
			for _, key := range luatest.Keys(t, st.client, st.prefix) {
				if strings.Contains(key, clear) {
					t.Errorf("key %q names the user", key)
				}
			}
		}
	})
}

func TestEncryptedSessions(t *testing.T) {
	each(t, func(t *testing.T, srv *luatest.Server) {
		key := []byte(strings.Repeat("k", 32))
		older := []byte(strings.Repeat("o", 32))
		codec := func(current []byte, older ...[]byte) func(*session.Config) {
			return func(c *session.Config) {
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
			c := sessiontest.NewBrowser(st.handler)
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
		// Without the older key now: what was written since is under the current one.
		move(newSiteOn(t, before.client, before.prefix, codec(key)))
		want(t, b.Do("GET", "/get?k=color"), 200, "topsecret!")
		// In the clear there is nothing to read, and never was a fallback.
		plain := newSite(t, srv)
		pb := plain.browser()
		want(t, pb.Do("POST", "/set?k=color&v=plain"), 200, "")
		sealed := newSiteOn(t, plain.client, plain.prefix, codec(key))
		c := sessiontest.NewBrowser(sealed.handler)
		c.SetCookie(cookieName, pb.Cookie(cookieName))
		sealed.request(c, func(ctx context.Context, s *session.Session) {
			if v, ok, err := color.Lookup(s); err == nil || ok || v != "" {
				t.Errorf("plaintext under Encrypt: %q, %v, %v", v, ok, err)
			}
		})
	})
}

func TestBearer(t *testing.T) {
	each(t, func(t *testing.T, srv *luatest.Server) {
		st := newSite(t, srv, func(c *session.Config) { c.Bearer = true })
		st.on("/token", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			st.check(s.Login(r.Context(), "alice", session.LoginInfo{Bearer: true, Remember: true}))
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
		// What is no session gets no cookie, whatever it sets.
		for _, bad := range []string{"x", "1AA" + strings.Repeat("A", 65)} {
			want(t, send("GET", "/who", bad), 200, "")
			if resp := send("POST", "/set?k=a&v=b", bad); resp.StatusCode != 409 || len(resp.Cookies()) > 0 {
				t.Errorf("set with a bad token: %d with cookies %v", resp.StatusCode, resp.Cookies())
			}
		}
		want(t, send("POST", "/logout", next), 200, "")
		want(t, send("GET", "/who", next), 200, "")
		// A browser's cookie shows its token to nobody.
		st.request(st.login("bob"), func(ctx context.Context, s *session.Session) {
			if s.BearerToken() != "" {
				t.Error("a cookie's token is shown")
			}
		})
		// Where it is not switched on the header means nothing.
		off := newSiteOn(t, st.client, st.prefix)
		r := off.browser().Request("GET", "/who", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		want(t, off.browser().Send(r), 200, "")
		off.request(off.browser(), func(ctx context.Context, s *session.Session) {
			if s.Login(ctx, "alice", session.LoginInfo{Bearer: true}) == nil {
				t.Error("bearer login where Bearer is off")
			}
		})
	})
}

func TestDevices(t *testing.T) {
	each(t, func(t *testing.T, srv *luatest.Server) {
		st := newSite(t, srv, func(c *session.Config) { c.Cap = -1 })
		agent := "Mozilla/5.0 (a very long user agent " + strings.Repeat("x", 100) + ")"
		enter := func(label, addr string) *sessiontest.Browser {
			b := st.browser()
			st.on("/in", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				st.check(s.Login(r.Context(), "alice", session.LoginInfo{Device: session.Device{Label: label}, Level: 2}))
			})
			r := b.Request("POST", "/in", nil)
			r.RemoteAddr = addr
			r.Header.Set("User-Agent", agent)
			b.Keep(b.Send(r))
			return b
		}
		phone, laptop := enter("phone", "203.0.113.77:1234"), enter("laptop", "[2001:db8:1:2:3::4%eth0]:99")
		st.request(laptop, func(ctx context.Context, s *session.Session) {
			infos, next, err := st.m.List(ctx, "alice", "")
			if err != nil || len(infos) != 2 || next != "" {
				t.Fatalf("got %v, %q, %v", infos, next, err)
			}
			for _, i := range infos {
				if i.Current != (i.ID == s.ID()) || len(i.ID) != 22 || i.Level != 2 || len(i.Device.UserAgent) != 64 ||
					time.Since(i.Created).Abs() > time.Minute || time.Since(i.LastSeen).Abs() > time.Minute || time.Until(i.Expires) < 29*time.Minute {
					t.Errorf("odd entry %+v", i)
				}
				wantIP := map[string]string{"phone": "203.0.113.0", "laptop": "2001:db8:1::"}[i.Device.Label]
				if i.Device.IP != wantIP {
					t.Errorf("%s: address %q, want %q", i.Device.Label, i.Device.IP, wantIP)
				}
				if !i.Current {
					// Of another user it is not there, whoever asks.
					if err := st.m.Revoke(ctx, "bob", i.ID); !errors.Is(err, session.ErrGone) {
						t.Errorf("bob revoked alice's session: %v", err)
					}
					st.check(st.m.Revoke(ctx, "alice", i.ID))
					if err := st.m.Revoke(ctx, "alice", i.ID); !errors.Is(err, session.ErrGone) {
						t.Errorf("revoked twice: %v", err)
					}
				}
			}
		})
		want(t, phone.Do("GET", "/who"), 200, "")
		want(t, laptop.Do("GET", "/who"), 200, "alice")
		for range 120 {
			enter("many", "192.0.2.1:1")
		}
		seen := map[string]bool{}
		pages := 0
		for cursor := ""; ; pages++ {
			infos, next, err := st.m.List(t.Context(), "alice", cursor)
			st.check(err)
			for _, i := range infos {
				seen[i.ID] = true
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		if len(seen) != 121 || pages != 1 {
			t.Errorf("%d sessions on %d pages, want 121 on 2", len(seen), pages+1)
		}
		st.request(laptop, func(ctx context.Context, s *session.Session) {
			if n, err := s.RevokeOthers(ctx); n != 120 || err != nil {
				t.Errorf("RevokeOthers: %d, %v, want 120", n, err)
			}
		})
		want(t, laptop.Do("GET", "/who"), 200, "alice")
		want(t, laptop.Do("POST", "/add"), 200, "")
		if n, err := st.m.RevokeUser(t.Context(), "alice"); n != 1 || err != nil {
			t.Errorf("RevokeUser: %d, %v, want 1", n, err)
		}
		want(t, laptop.Do("GET", "/who"), 200, "")
	})
}

// Another process hears of RevokeAll within a second, without events.
func TestRevokeAllReachesOtherProcesses(t *testing.T) {
	each(t, func(t *testing.T, srv *luatest.Server) {
		st := newSite(t, srv)
		other := newSiteOn(t, st.client, st.prefix)
		b := other.login("alice")
		guest := other.browser()
		want(t, guest.Do("POST", "/set?k=color&v=red"), 200, "")
		st.check(st.m.RevokeAll(t.Context()))
		time.Sleep(1100 * time.Millisecond)
		want(t, b.Do("GET", "/who"), 200, "")
		want(t, guest.Do("GET", "/get?k=color"), 200, "(none)")
		want(t, b.Do("POST", "/login?user=alice"), 200, "")
		want(t, b.Do("GET", "/who"), 200, "alice")
		luatest.NoImmortalKeys(t, st.client, st.prefix)
	})
}
