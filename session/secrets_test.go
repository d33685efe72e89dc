package session_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// dump returns all keys and values under the prefix.
func dump(t *testing.T, st *site) string {
	t.Helper()
	ctx := context.Background()
	var b strings.Builder
	for _, key := range redistest.Keys(t, st.client, st.prefix) {
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

// The test runs every operation of a session, and searches everything that leaves the
// process, except the cookie, for tokens.
func TestNoSecretLeavesTheProcess(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv, func(c *settings) { c.Bearer = true })
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
		learn := func(bs ...*browsertest.Browser) {
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
			st.check(s.Login(ctx, "alice", session.LoginOptions{Remember: true}))
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
			st.check(s.Login(ctx, "alice", session.LoginOptions{Bearer: true}))
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
			for _, key := range redistest.Keys(t, st.client, st.prefix) {
				if strings.Contains(key, clear) {
					t.Errorf("key %q names the user", key)
				}
			}
		}
	})
}
