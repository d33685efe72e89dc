package session_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session"
)

var interleavings = flag.Int("interleavings", 0, "interleavings of each pair in TestEndingsRaceWithDoings; 0 means 5, or 1 with -short or -race")

func rounds() int {
	switch {
	case *interleavings > 0:
		return *interleavings
	case testing.Short() || raceEnabled:
		return 1
	}
	return 5
}

// duel runs a request on a user's session and, at the same time, an operation that ends
// the session.
type duel struct {
	*site
	narrow *site // another process, where a user may have one session
	user   string
	victim *browsertest.Browser // the browser whose session ends
	kept   *browsertest.Browser // another one of the user
	bob    *browsertest.Browser // of somebody else
	winner *browsertest.Browser // of the login that evicts the others
}

// attack ends the victim's session. keeps says whether the user's other session lives on.
type attack struct {
	keeps bool
	end   func(ctx context.Context, d *duel)
}

var attacks = map[string]attack{
	"logout": {true, func(_ context.Context, d *duel) { want(d.t, d.victim.Clone().Do("POST", "/logout"), 200, "") }},
	"revoke one": {true, func(ctx context.Context, d *duel) {
		r := d.victim.Request("GET", "/id", nil)
		if err := d.m.Revoke(ctx, d.user, body(d.victim.Send(r))); err != nil && !errors.Is(err, session.ErrGone) {
			d.t.Errorf("Revoke: %v", err)
		}
	}},
	"revoke others": {true, func(_ context.Context, d *duel) { want(d.t, d.kept.Do("POST", "/revoke-others"), 200, "") }},
	"revoke user":   {false, func(ctx context.Context, d *duel) { d.revoke(d.m.RevokeUser(ctx, d.user)) }},
	"revoke all":    {false, func(ctx context.Context, d *duel) { d.check(d.m.RevokeAll(ctx)) }},
	"expiry":        {true, func(_ context.Context, d *duel) { d.seen(d.victim, -24*time.Hour) }},
	"eviction": {false, func(_ context.Context, d *duel) {
		d.winner = browsertest.NewBrowser(d.narrow.handler)
		want(d.t, d.winner.Do("POST", "/login?user="+d.user), 200, "")
	}},
}

// seen moves the time at which a session was last used, if it lives.
func (st *site) seen(b *browsertest.Browser, by time.Duration) {
	st.t.Helper()
	token := b.Cookie(cookieName)
	sum := sha256.Sum256([]byte("gatekit series 1" + token[:25]))
	key := fmt.Sprintf("%s:s:{%s}:%s", st.prefix, token[1:3], base64.RawURLEncoding.EncodeToString(sum[:24]))
	const script = "if redis.call('HEXISTS', KEYS[1], '!m') == 1 then redis.call('HINCRBY', KEYS[1], '!t', ARGV[1]) end return 1"
	st.check(st.client.Eval(context.Background(), script, []string{key}, by.Milliseconds()).Err())
}

// prepared sets up what a request needs to do more than read.
var prepared = map[string]func(d *duel){
	"touch":   func(d *duel) { d.seen(d.victim, -5*time.Minute) },
	"confirm": func(d *duel) { want(d.t, d.victim.Do("POST", "/doing?what=rotate"), 200, "") },
}

// All pairs of a request and an ending at the same time: the session ends for good, and
// no other session is lost. After a call of List the user's index has exactly the
// sessions that live.
func TestEndingsRaceWithDoings(t *testing.T) {
	redistest.Long(t)
	n := rounds()
	all := []string{"touch", "confirm", "login"}
	for doing := range doings {
		all = append(all, doing)
	}
	each(t, func(t *testing.T, srv *redistest.Server) {
		for ending := range attacks {
			for _, doing := range all {
				t.Run(doing+" x "+ending, func(t *testing.T) {
					t.Parallel()
					for i := 0; i < n && !t.Failed(); i += 50 {
						fresh := srv
						if srv.Name() == "embedded" { // it looks at all its keys for each command
							fresh = redistest.Embedded(t)
						}
						st := duelSite(t, fresh, doing)
						narrow := newSiteOn(t, st.client, st.prefix, func(c *settings) { c.Cap = 1 })
						for j := range min(50, n-i) {
							st.fight(narrow, fmt.Sprint("user", j), doing, ending)
						}
						redistest.NoImmortalKeys(t, st.client, st.prefix)
					}
				})
			}
		}
	})
}

func duelSite(t *testing.T, srv *redistest.Server, doing string) *site {
	st := newSite(t, srv)
	st.on("/doing", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		what := doings[r.URL.Query().Get("what")]
		if what == nil {
			return
		}
		err := what(r.Context(), s)
		if err != nil && !errors.Is(err, session.ErrGone) && !errors.Is(err, session.ErrConflict) {
			t.Errorf("%s: %v", doing, err)
		}
	})
	st.on("/enter", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		err := s.Login(r.Context(), r.URL.Query().Get("user"), session.LoginOptions{})
		if err != nil && !errors.Is(err, session.ErrStaleLogin) {
			t.Errorf("Login: %v", err)
		}
	})
	st.on("/id", func(w http.ResponseWriter, r *http.Request, s *session.Session) { fmt.Fprint(w, s.ID()) })
	st.on("/revoke-others", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.revoke(s.RevokeOthers(r.Context()))
	})
	return st
}

func (st *site) fight(narrow *site, user, doing, ending string) {
	st.t.Helper()
	d := &duel{site: st, narrow: narrow, user: user, victim: st.login(user), kept: st.login(user), bob: st.login("bob" + user)}
	if prepare := prepared[doing]; prepare != nil {
		prepare(d)
	}
	path := "/doing?what=" + doing
	if doing == "login" {
		path = "/enter?user=" + user
	}
	after := d.victim.Clone() // with the cookie of the request's response
	r := d.victim.Request("POST", path, nil)
	var both sync.WaitGroup
	both.Go(func() { after.Keep(after.Send(r)) })
	both.Go(func() { attacks[ending].end(context.Background(), d) })
	both.Wait()

	is := func(whose string, b *browsertest.Browser, alive bool) {
		st.t.Helper()
		want := ""
		if alive {
			want = user
		}
		if got := body(b.Do("GET", "/who")); got != want {
			st.t.Errorf("%s during %s: %s is %q, want %q", doing, ending, whose, got, want)
		}
	}
	live := 0
	is("the victim", d.victim, false)
	if doing != "login" {
		is("the victim, with what the request answered,", after, false)
	} else if b := after.Clone(); b.Cookie(cookieName) != d.victim.Cookie(cookieName) && body(b.Do("GET", "/who")) == user {
		live++ // the request came second, or the ending was for another session
	}
	if is("the other", d.kept, attacks[ending].keeps); attacks[ending].keeps {
		live++
	}
	if d.winner != nil {
		is("the evictor", d.winner, true)
		live++
	}
	if ending != "revoke all" {
		if got := body(d.bob.Do("GET", "/who")); got != "bob"+user {
			st.t.Errorf("%s during %s: bob is %q", doing, ending, got)
		}
	}
	infos, _, err := st.m.List(context.Background(), user, "")
	st.check(err)
	tag := store.MakeTag("user", user)
	key := fmt.Sprintf("%s:u:{%s}:%s", st.prefix, d.victim.Cookie(cookieName)[1:3], tag[:])
	index := st.client.ZCard(context.Background(), key).Val()
	if len(infos) != live || index != int64(live) {
		st.t.Errorf("%s during %s: %d sessions listed, %d in the index, %d live", doing, ending, len(infos), index, live)
	}
}
