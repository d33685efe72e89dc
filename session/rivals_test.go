package session_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// brings sends a request with cookies of our name, in this order.
func (st *site) brings(method, path string, tokens ...string) *http.Response {
	b := st.browser()
	r := b.Request(method, path, nil)
	for _, t := range tokens {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: t})
	}
	return b.Send(r)
}

// of returns the token of a new session of the user.
func (st *site) of(user string) string { return st.login(user).Cookie(cookieName) }

// ended returns the token of a session that has ended.
func (st *site) ended() string {
	b := st.login("nobody")
	token := b.Cookie(cookieName)
	want(st.t, b.Do("POST", "/logout"), 200, "")
	return token
}

// madeUp returns a well-formed token that no session has.
func madeUp(n int) string { return "1AA" + strings.Repeat(string(rune('a'+n)), 65) }

func TestDeadCookiesOfTheSameName(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		alice, dead := st.of("alice"), st.ended()
		unknown := []string{madeUp(0), madeUp(1), madeUp(2), madeUp(3), madeUp(4), madeUp(5), madeUp(6)}
		for _, c := range []struct {
			name   string
			tokens []string
			who    string
		}{
			{"ended first", []string{dead, alice}, "alice"},
			{"ended last", []string{alice, dead}, "alice"},
			{"unknown", []string{madeUp(0), alice}, "alice"},
			{"the same twice", []string{alice, alice}, "alice"},
			{"seven unknown", append(slices.Clone(unknown), alice), "alice"},
			{"two dead", []string{dead, madeUp(0)}, ""},
			{"eight unknown", append([]string{dead}, append(slices.Clone(unknown), alice)...), ""},
		} {
			t.Run(c.name, func(t *testing.T) {
				resp := st.brings("GET", "/who", c.tokens...)
				if got := body(resp); got != c.who || resp.StatusCode != 200 || len(resp.Cookies()) > 0 {
					t.Errorf("got %d %q with cookies %v, want %q", resp.StatusCode, got, resp.Cookies(), c.who)
				}
			})
		}
		if n := strings.Count(st.logs.String(), "too many cookies"); n != 1 {
			t.Errorf("the log tells of too many cookies %d times, want 1:\n%s", n, st.logs)
		}
		// It can be written, and ended.
		if resp := st.brings("POST", "/set?k=color&v=red", dead, alice); resp.StatusCode != 200 || len(resp.Cookies()) > 0 {
			t.Errorf("a change: got %d with cookies %v", resp.StatusCode, resp.Cookies())
		}
		want(t, st.brings("GET", "/get?k=color", alice), 200, "red")
		want(t, st.brings("POST", "/logout", madeUp(0), alice), 200, "")
		want(t, st.brings("GET", "/who", alice), 200, "")
		// A session that ended a moment ago does not make the visitor a guest, with dead
		// cookies or without.
		if resp := st.brings("POST", "/set?k=color&v=red", alice, madeUp(0)); resp.StatusCode != 409 || len(resp.Cookies()) > 0 {
			t.Errorf("a late change: got %d with cookies %v", resp.StatusCode, resp.Cookies())
		}
	})
}

// A browser with a dead cookie logs in, and stays logged in. A change of the cookie's
// attributes leaves such cookies.
func TestLoginBesideADeadCookie(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		dead := st.ended()
		resp := st.brings("POST", "/login?user=alice", dead, madeUp(0))
		if len(resp.Cookies()) != 1 {
			t.Fatalf("cookies %v", resp.Cookies())
		}
		want(t, st.brings("GET", "/who", dead, madeUp(0), resp.Cookies()[0].Value), 200, "alice")
		if infos, _, err := st.m.List(t.Context(), "alice", ""); err != nil || len(infos) != 1 {
			t.Errorf("%d devices (%v), want 1", len(infos), err)
		}
	})
}

func TestTwoLivingSessionsAreNone(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		alice, bob, carol := st.of("alice"), st.of("bob"), st.of("carol")
		for range 2 {
			want(t, st.brings("GET", "/who", alice, madeUp(0), bob), 200, "")
		}
		if n := strings.Count(st.logs.String(), "all live"); n != 1 {
			t.Errorf("the log tells of it %d times, want 1:\n%s", n, st.logs)
		}
		if strings.Contains(st.logs.String(), alice[3:]) {
			t.Error("the log holds a token")
		}
		want(t, st.brings("GET", "/who", alice), 200, "alice")
		want(t, st.brings("GET", "/who", bob), 200, "bob")

		// A login ends all of these sessions. Otherwise it would be unclear which session
		// counts.
		resp := st.brings("POST", "/login?user=dave", alice, bob)
		if len(resp.Cookies()) != 1 {
			t.Fatalf("cookies %v", resp.Cookies())
		}
		dave := resp.Cookies()[0].Value
		want(t, st.brings("GET", "/who", alice, bob, dave), 200, "dave")

		resp = st.brings("POST", "/logout", dave, carol)
		if len(resp.Cookies()) != 1 || resp.Cookies()[0].MaxAge >= 0 {
			t.Errorf("logout: cookies %v, want one that is removed", resp.Cookies())
		}
		want(t, st.brings("GET", "/who", dave), 200, "")
		want(t, st.brings("GET", "/who", carol), 200, "")
	})
}

// A login that is undone gives the old session back.
func TestUndoneLoginLeavesLivingSessions(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		alice, bob := st.of("alice"), st.of("bob")
		st.on("/panics", func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
			st.check(s.Login(r.Context(), "carol", session.LoginOptions{}))
			st.check(s.Login(r.Context(), "carol", session.LoginOptions{}))
			panic(http.ErrAbortHandler)
		})
		func() {
			defer func() { _ = recover() }()
			st.brings("POST", "/panics", alice, bob)
		}()
		want(t, st.brings("GET", "/who", alice), 200, "alice")
		want(t, st.brings("GET", "/who", bob), 200, "bob")
		if infos, _, err := st.m.List(t.Context(), "carol", ""); err != nil || len(infos) != 0 {
			t.Errorf("%d sessions of the login that was undone (%v)", len(infos), err)
		}
	})
}

// Of two tokens of one session the newest counts. If there are several tokens, none
// counts as a thief's.
func TestTokensOfOneSession(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		w := watch(t, st.m)
		b := st.login("alice", "remember=1")
		first := b.Cookie(cookieName)
		rotate := func() string {
			t.Helper()
			step(25 * time.Hour)
			st.learn()
			before := b.Cookie(cookieName)
			want(t, b.Do("GET", "/who"), 200, "alice")
			if b.Cookie(cookieName) == before {
				t.Fatal("not rotated")
			}
			return b.Cookie(cookieName)
		}
		second := rotate()
		// The successor on offer counts. It is used now, which makes it the current
		// token.
		want(t, st.brings("GET", "/who", first, second), 200, "alice")
		want(t, st.brings("GET", "/who", first), 200, "alice") // in its grace time
		want(t, st.brings("GET", "/who", first, madeUp(0)), 200, "alice")
		third := rotate()
		want(t, st.brings("GET", "/who", third, second), 200, "alice")
		step(time.Minute) // the grace time is over
		st.learn()
		for _, tokens := range [][]string{{first, third}, {third, first, second}, {second, madeUp(0), third}} {
			want(t, st.brings("GET", "/who", tokens...), 200, "alice")
		}
		want(t, st.brings("GET", "/who", first, second), 200, "")
		want(t, st.brings("GET", "/who", first, madeUp(0)), 200, "")
		want(t, st.brings("GET", "/who", third), 200, "alice")
		if strings.Contains(st.logs.String(), "replaced token") {
			t.Errorf("a token among several was taken for a thief's:\n%s", st.logs)
		}
		want(t, st.brings("GET", "/who", first), 200, "") // alone it is
		want(t, st.brings("GET", "/who", third), 200, "")
		w.until("the replay", func(es []session.Event) bool {
			return len(slices.DeleteFunc(slices.Clone(es), func(e session.Event) bool { return e.Kind != session.Replayed })) > 0
		})
		for _, e := range w.all() {
			if e.Kind == session.Replayed && e.Reason != "revoked" {
				t.Errorf("event %v %s", e.Kind, e.Reason)
			}
		}
	})
}

// trips counts the calls to Redis, and fails those that the test selects.
type trips struct {
	single, pipelines atomic.Int64
	fail              atomic.Bool // pipelines
	failScripts       atomic.Bool
	failReads         atomic.Int64 // as many as this
}

var errLost = errors.New("lost")

func (*trips) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.single.Add(1)
		if cmd.Name() == "hgetall" && h.failReads.Add(-1) >= 0 || strings.HasPrefix(cmd.Name(), "eval") && h.failScripts.Load() {
			cmd.SetErr(errLost)
			return errLost
		}
		return next(ctx, cmd)
	}
}
func (h *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.pipelines.Add(1)
		if h.fail.Load() {
			for _, cmd := range cmds {
				cmd.SetErr(errLost)
			}
			return errLost
		}
		return next(ctx, cmds)
	}
}

func TestSeveralCookiesAreOneRoundTrip(t *testing.T) {
	srv := redistest.Single(t)
	client, counts := srv.Client(t), &trips{}
	client.AddHook(counts)
	st := newSiteOn(t, client, redistest.Prefix(t))
	alice := st.of("alice")
	want(t, st.brings("GET", "/who", alice), 200, "alice")                          // the epoch is known, for a second
	for tries := 0; tries == 0 || counts.single.Load() > 0 && tries < 50; tries++ { // else it asked for the epoch
		counts.single.Store(0)
		counts.pipelines.Store(0)
		want(t, st.brings("GET", "/who", madeUp(0), madeUp(1), alice, madeUp(2)), 200, "alice")
	}
	if n := counts.single.Load(); n != 0 {
		t.Errorf("%d single commands for four cookies, want none", n)
	}
	if n := counts.pipelines.Load(); n != 1 {
		t.Errorf("%d pipelines for four cookies, want 1", n)
	}
}

// If a look-up fails, nothing is known: the visitor is neither logged out nor logged in
// by the records that could be read.
func TestSeveralCookiesWhileRedisIsDown(t *testing.T) {
	srv := redistest.Single(t)
	client, counts := srv.Client(t), &trips{}
	client.AddHook(counts)
	st := newSiteOn(t, client, redistest.Prefix(t))
	alice, dead := st.of("alice"), st.ended()
	counts.fail.Store(true)
	for _, path := range []string{"/who", "/set?k=color&v=red", "/login?user=bob", "/logout"} {
		t.Run(path, func(t *testing.T) {
			if resp := st.brings("POST", path, dead, alice); resp.StatusCode != 503 || len(resp.Cookies()) > 0 {
				t.Errorf("got %d with cookies %v, want 503 and none", resp.StatusCode, resp.Cookies())
			}
		})
	}
	counts.fail.Store(false)
	want(t, st.brings("GET", "/who", dead, alice), 200, "alice")

	// The record alone does not show whether a token that was just sent counts.
	st.on("/rotate", func(_ http.ResponseWriter, r *http.Request, s *session.Session) { st.check(s.Rotate(r.Context())) })
	offered := st.brings("POST", "/rotate", alice).Cookies()[0].Value
	counts.failScripts.Store(true)
	if resp := st.brings("GET", "/who", dead, offered); resp.StatusCode != 503 || len(resp.Cookies()) > 0 {
		t.Errorf("no script runs: got %d with cookies %v, want 503 and none", resp.StatusCode, resp.Cookies())
	}
	counts.failScripts.Store(false)
	want(t, st.brings("GET", "/who", dead, offered), 200, "alice")
}

// One shard of a cluster does not answer. If a cookie's session would lie there, the read
// fails. The other cookie alone works.
func TestOneOfTheCookiesLiesOnADeadShard(t *testing.T) {
	t.Parallel()
	srv := redistest.NewCluster(t)
	st := newSite(t, srv, func(c *settings) { c.Budget = 500 * time.Millisecond })
	alice := st.of("alice")
	want(t, st.brings("GET", "/who", madeUp(0), alice), 200, "alice") // from several nodes
	shard := func(token string) string { return srv.Master(t, "{"+token[1:3]+"}").Addr() }
	var elsewhere string
	for c := 'A'; c <= 'Z'; c++ {
		token := "1A" + string(c) + strings.Repeat("z", 65)
		if epoch := srv.Master(t, st.prefix+":g").Addr(); shard(token) != shard(alice) && shard(token) != epoch {
			elsewhere = token
		}
	}
	if elsewhere == "" {
		t.Fatal("no slot of a third node among the ones tried")
	}
	srv.Master(t, "{"+elsewhere[1:3]+"}").Freeze(t)
	defer srv.Master(t, "{"+elsewhere[1:3]+"}").Thaw(t)
	if resp := st.brings("GET", "/who", elsewhere, alice); resp.StatusCode != 503 || len(resp.Cookies()) > 0 {
		t.Errorf("got %d with cookies %v, want 503 and none", resp.StatusCode, resp.Cookies())
	}
}

func TestOldCookiesAreRemovedByLoginAndLogout(t *testing.T) {
	st := newSite(t, redistest.Embedded(t), func(c *settings) {
		c.Cookie = session.Cookie{Name: "__Secure-id", Domain: "example.com", Partitioned: true, SameSite: http.SameSiteNoneMode}
		c.OldCookies = []session.Cookie{{Name: "__Secure-id", Domain: "example.com"}, {Name: "__Secure-id", Path: "/app"}}
	})
	lines := func(resp *http.Response) (lines []string) {
		for _, l := range resp.Header["Set-Cookie"] {
			if strings.Contains(l, "Max-Age=0") {
				lines = append(lines, l)
			}
		}
		return lines
	}
	old := []string{
		"__Secure-id=; Path=/; Domain=example.com; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
		"__Secure-id=; Path=/app; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
	}
	b := st.browser()
	if got := lines(b.Do("POST", "/login?user=alice")); !slices.Equal(got, old) {
		t.Errorf("login removes %q, want %q", got, old)
	}
	// The browser of this test keeps one cookie a name: the last line has to be the new
	// one.
	want(t, b.Do("GET", "/who"), 200, "alice")
	if got := lines(b.Do("POST", "/add")); len(got) > 0 {
		t.Errorf("a change removes %q", got)
	}
	want(t, b.Do("GET", "/who"), 200, "alice")
	if got := lines(b.Do("POST", "/logout")); len(got) != 3 || !slices.Equal(got[:2], old) {
		t.Errorf("logout removes %q, want its own cookie and %q", got, old)
	}
}
