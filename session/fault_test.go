package session_test

import (
	"context"
	"errors"
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

// hasty is the browser at a site with the same sessions and the budget that programs have
// by default.
func (st *site) hasty(b *browsertest.Browser) *browsertest.Browser {
	st.t.Helper()
	site := newSiteOn(st.t, st.client, st.prefix, func(c *settings) { c.Budget = 150 * time.Millisecond })
	there := site.browser()
	there.SetCookie(cookieName, b.Cookie(cookieName))
	return there
}

// comesBack sends requests until the site answers. On a machine that is not busy that
// takes at most a second.
func (st *site) comesBack(b *browsertest.Browser) {
	st.t.Helper()
	still, began := redistest.WatchStandstill(st.t), time.Now()
	for b.Do("GET", "/who").StatusCode != 200 {
		if time.Since(began) > time.Minute {
			st.t.Fatal("not back after a minute")
		}
		time.Sleep(5 * time.Millisecond)
	}
	still.Within(st.t, "to be back", began, time.Second)
}

func TestFrozenStoreAnswersWithinTheBudget(t *testing.T) {
	t.Parallel()
	srv := redistest.NewSingle(t)
	client := srv.Client(t, func(o *redis.UniversalOptions) { o.ReadTimeout = time.Minute })
	st := newSiteOn(t, client, redistest.Prefix(t))
	b := st.login("alice")
	token := b.Cookie(cookieName)
	hasty := st.hasty(b)
	srv.Freeze(t)
	still, begin := redistest.WatchStandstill(t), time.Now()
	resp := hasty.Do("GET", "/who")
	still.Within(t, "the answer while Redis is frozen", begin, 300*time.Millisecond)
	srv.Thaw(t)
	if resp.StatusCode != 503 || len(resp.Cookies()) != 0 {
		t.Errorf("got %d with cookies %v", resp.StatusCode, resp.Cookies())
	}
	st.comesBack(hasty)
	want(t, b.Do("GET", "/who"), 200, "alice")
	if b.Cookie(cookieName) != token {
		t.Error("the cookie changed")
	}
}

func TestKilledStoreComesBackEmpty(t *testing.T) {
	t.Parallel()
	srv := redistest.NewSingle(t)
	st := newSite(t, srv)
	b := st.login("alice")
	token := b.Cookie(cookieName)
	hasty := st.hasty(b)
	srv.Kill(t)
	for range 3 {
		if resp := hasty.Do("POST", "/add"); resp.StatusCode != 503 || len(resp.Cookies()) != 0 {
			t.Errorf("got %d with cookies %v", resp.StatusCode, resp.Cookies())
		}
	}
	srv.Restart(t)
	st.comesBack(hasty)
	// The record is lost with the server, which is a clean logout. The cookie still
	// stays.
	want(t, b.Do("GET", "/who"), 200, "")
	if b.Cookie(cookieName) != token {
		t.Error("the cookie changed")
	}
	want(t, b.Do("POST", "/login?user=alice"), 200, "")
	want(t, b.Do("GET", "/who"), 200, "alice")
}

func TestFlushedScriptsFailNobody(t *testing.T) {
	t.Parallel()
	srv := redistest.NewSingle(t)
	st := newSite(t, srv)
	admin := srv.Client(t)
	ctx, stop := context.WithCancel(t.Context())
	var flushing sync.WaitGroup
	flushing.Go(func() {
		for ctx.Err() == nil {
			admin.ScriptFlush(ctx)
			time.Sleep(time.Millisecond)
		}
	})
	defer flushing.Wait()
	defer stop()
	b := st.login("alice")
	for i := range 200 {
		want(t, b.Do("POST", "/add"), 200, "")
		if i%20 == 0 {
			want(t, b.Do("POST", "/login?user=alice"), 200, "")
		}
	}
	want(t, b.Do("GET", "/hits"), 200, "200")
}

// When memory is full, nothing new is stored, but existing sessions can be read and
// ended.
func TestFullMemory(t *testing.T) {
	t.Parallel()
	srv := redistest.NewSingle(t, "--maxmemory-policy", "noeviction")
	st := newSite(t, srv)
	admin := srv.Client(t)
	b, c := st.login("alice"), st.login("bob")
	want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
	want(t, c.Clone().Do("POST", "/logout"), 200, "") // all scripts are known
	c = st.login("bob")
	if err := admin.ConfigSet(t.Context(), "maxmemory", "1mb").Err(); err != nil {
		t.Fatal(err)
	}
	if resp := b.Do("POST", "/set?k=color&v=blue"); resp.StatusCode != 503 {
		t.Errorf("commit: %d, want 503", resp.StatusCode)
	}
	if resp := b.Clone().Do("POST", "/login?user=alice"); resp.StatusCode != 503 || len(resp.Cookies()) != 0 {
		t.Errorf("login: %d, want 503", resp.StatusCode)
	}
	want(t, b.Do("GET", "/get?k=color"), 200, "red") // the old session survives a refused login
	want(t, c.Do("POST", "/logout"), 200, "")
	want(t, c.Do("GET", "/who"), 200, "")
	if err := admin.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	want(t, b.Do("POST", "/set?k=color&v=blue"), 200, "")
	want(t, b.Do("GET", "/get?k=color"), 200, "blue")
}

// An index that was lost, to an eviction or a half restored backup, does not hide
// sessions from RevokeUser.
func TestLostIndex(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		b := st.login("alice")
		for _, key := range st.keys("u") {
			if err := st.client.Del(t.Context(), key).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := st.m.RevokeUser(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		resp := b.Do("POST", "/set?k=color&v=zombie")
		if resp.StatusCode != 401 {
			t.Errorf("a write after RevokeUser: %d, want 401", resp.StatusCode)
		}
		want(t, b.Do("GET", "/who"), 200, "")
	})
}

// If RevokeUser did not find a session, only a script notices that it has ended. Even
// with the longest idle timeout a script runs every 10 minutes.
func TestLostIndexIsReadForTenMinutes(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		b := st.login("alice", "remember=1") // 30 days
		st.check(st.client.Del(t.Context(), st.keys("u")...).Err())
		st.revoke(st.m.RevokeUser(t.Context(), "alice"))
		step(10 * time.Minute)
		st.learn()
		b.Do("GET", "/who") // notes its use, once the response is out
		want(t, b.Do("GET", "/who"), 200, "")
	})
}

// Garbage under a session's key counts as no session, and nothing panics.
func TestCorruptRecords(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		ctx := t.Context()
		for name, spoil := range map[string]func(c redis.UniversalClient, key string) error{
			"another type": func(c redis.UniversalClient, key string) error {
				return errors.Join(c.Del(ctx, key).Err(), c.LPush(ctx, key, "x").Err(), c.Expire(ctx, key, time.Minute).Err())
			},
			"no meta field": func(c redis.UniversalClient, key string) error { return c.HDel(ctx, key, "!m").Err() },
			"odd meta":      func(c redis.UniversalClient, key string) error { return c.HSet(ctx, key, "!m", "x.y.z").Err() },
			"odd seen":      func(c redis.UniversalClient, key string) error { return c.HSet(ctx, key, "!t", "soon").Err() },
			"no epochs":     func(c redis.UniversalClient, key string) error { return c.HSet(ctx, key, "!e", "").Err() },
			"no token":      func(c redis.UniversalClient, key string) error { return c.HDel(ctx, key, "!s").Err() },
			"empty token":   func(c redis.UniversalClient, key string) error { return c.HSet(ctx, key, "!s", "").Err() },
		} {
			t.Run(name, func(t *testing.T) {
				st := newSite(t, srv)
				b := st.login("alice")
				keys := st.keys("s")
				if len(keys) != 1 {
					t.Fatalf("%d records", len(keys))
				}
				if err := spoil(st.client, keys[0]); err != nil {
					t.Fatal(err)
				}
				resp := b.Do("GET", "/who")
				if text := body(resp); text == "alice" || len(resp.Cookies()) != 0 || resp.StatusCode >= 500 && resp.StatusCode != 503 {
					t.Errorf("got %d %q", resp.StatusCode, text)
				}
			})
		}
	})
}

// The reply of a login is lost: the second run finds the session of the first, and there
// are not two.
func TestLostLoginReply(t *testing.T) {
	t.Parallel()
	srv := redistest.NewSingle(t)
	proxy := redistest.NewProxy(t, srv.Nodes()[0].Addr())
	st := newSiteOn(t, redistest.NewClient(t, proxy.Addr()), redistest.Prefix(t))
	st.login("warm")
	proxy.DropReply(1, "evalsha", "eval")
	b := st.login("alice")
	want(t, b.Do("GET", "/who"), 200, "alice")
	if infos, _, err := st.m.List(t.Context(), "alice", ""); err != nil || len(infos) != 1 {
		t.Errorf("%d sessions (%v), want 1", len(infos), err)
	}
}

// The reply of a Pop is lost: the value is gone, and was delivered to nobody, never to
// two.
func TestLostPopReply(t *testing.T) {
	t.Parallel()
	srv := redistest.NewSingle(t)
	proxy := redistest.NewProxy(t, srv.Nodes()[0].Addr())
	st := newSiteOn(t, redistest.NewClient(t, proxy.Addr()), redistest.Prefix(t))
	b := st.login("alice")
	want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
	st.on("/pop", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		proxy.DropReply(1, "evalsha", "eval")
		if v, ok, err := color.Pop(r.Context(), s); ok || !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("Pop: %q, %v, %v", v, ok, err)
		}
	})
	b.Do("POST", "/pop")
	want(t, b.Do("GET", "/get?k=color"), 200, "(none)")
}

func TestRecordIsSmall(t *testing.T) {
	st := newSite(t, redistest.Single(t))
	b := st.browser()
	for i := range 8 {
		want(t, b.Do("POST", fmt.Sprintf("/set?k=value%d&v=something", i)), 200, "")
	}
	for i := range 5 {
		c := st.login("alice")
		for j := range 8 {
			want(t, c.Do("POST", fmt.Sprintf("/set?k=value%d&v=small%d", j, i)), 200, "")
		}
	}
	for _, key := range redistest.Keys(t, st.client, st.prefix+":s") {
		n := st.client.MemoryUsage(t.Context(), key, 0).Val()
		if n == 0 || n > 550 {
			t.Errorf("a session of 8 small values takes %d bytes, want at most 550", n)
		}
	}
	for _, key := range st.keys("u") {
		if enc := st.client.ObjectEncoding(t.Context(), key).Val(); enc != "listpack" && enc != "ziplist" {
			t.Errorf("an index of 5 sessions is a %s", enc)
		}
	}
	if strings.Contains(st.logs.String(), "ERROR") {
		t.Error(st.logs.String())
	}
}
