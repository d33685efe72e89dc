package session_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
)

// story is an operation during which the process may die at any moment, and the answers
// that the browsers get before and after it.
type story struct {
	name  string
	paths []string // what the process does, see [processSite]
	cap   int      // 0 is none
	// set prepares the stage and returns the browser that acts, nil if it has no cookie,
	// and the others of the user.
	set func(st *site) (acting *browsertest.Browser, others []*browsertest.Browser)
	// The answers to the acting browser with its own cookie, and with the one that the
	// process sent.
	before, after, fresh string
	// The answers to the others before and after.
	othersBefore, othersAfter []string
}

// A crowd is two pages of a revocation. The test looks at some of its sessions only.
const crowd, witnesses = 120, 4

var stories = []story{
	{name: "first value", paths: []string{"/paint"}, set: nobody, fresh: " blue 1"},
	{name: "login of a guest", paths: []string{"/login"}, set: guest, before: " red 0", fresh: "alice red 0"},
	{name: "login of the same user", paths: []string{"/login"}, cap: 1, set: alice, before: "alice red 0", fresh: "alice red 0"},
	{name: "login of another user", paths: []string{"/login"}, set: bob, before: "bob red 0", fresh: "alice  0"},
	{name: "login at the cap", paths: []string{"/login"}, cap: 2, set: outsider(2), fresh: "alice  0",
		othersBefore: []string{"alice  0", "alice  0"}, othersAfter: []string{"", "alice  0"}},
	{name: "commit", paths: []string{"/paint"}, set: alice, before: "alice red 0", after: "alice blue 1"},
	{name: "touch", paths: []string{"/look"}, set: unseen, before: "alice red 0", after: "alice red 0"},
	{name: "rotation", paths: []string{"/rotate", "/look"}, set: alice, before: "alice red 0", after: "alice red 0", fresh: "alice red 0"},
	{name: "elevation", paths: []string{"/elevate", "/look"}, set: alice, before: "alice red 0", after: "alice red 0", fresh: "alice red 0"},
	{name: "logout", paths: []string{"/logout"}, set: alice, before: "alice red 0"},
	{name: "revocation of one", paths: []string{"/revoke-one"}, set: alice, before: "alice red 0"},
	{name: "revocation of others", paths: []string{"/revoke-others"}, set: crowded, before: "alice red 0", after: "alice red 0",
		othersBefore: slices.Repeat([]string{"alice  0"}, witnesses), othersAfter: make([]string, witnesses)},
	{name: "revocation of a user", paths: []string{"/revoke-user"}, set: crowded, before: "alice red 0",
		othersBefore: slices.Repeat([]string{"alice  0"}, witnesses), othersAfter: make([]string, witnesses)},
	{name: "revocation of all", paths: []string{"/revoke-all"}, set: alice, before: "alice red 0"},
}

func nobody(*site) (*browsertest.Browser, []*browsertest.Browser) { return nil, nil }

func guest(st *site) (*browsertest.Browser, []*browsertest.Browser) {
	b := st.browser()
	want(st.t, b.Do("POST", "/set?k=color&v=red"), 200, "")
	return b, nil
}

func alice(st *site) (*browsertest.Browser, []*browsertest.Browser) { return painted(st, "alice") }

func bob(st *site) (*browsertest.Browser, []*browsertest.Browser) { return painted(st, "bob") }

func painted(st *site, user string) (*browsertest.Browser, []*browsertest.Browser) {
	b := st.login(user)
	want(st.t, b.Do("POST", "/set?k=color&v=red"), 200, "")
	return b, nil
}

func outsider(n int) func(*site) (*browsertest.Browser, []*browsertest.Browser) {
	return func(st *site) (_ *browsertest.Browser, others []*browsertest.Browser) {
		for range n {
			others = append(others, st.login("alice"))
		}
		return nil, others
	}
}

func crowded(st *site) (acting *browsertest.Browser, others []*browsertest.Browser) {
	acting, _ = alice(st)
	for i := range crowd {
		if b := st.login("alice"); i%(crowd/witnesses) == crowd/witnesses-1 { // the last among them
			others = append(others, b)
		}
	}
	return acting, others
}

// unseen makes a session for which a note of use is due.
func unseen(st *site) (*browsertest.Browser, []*browsertest.Browser) {
	b, _ := alice(st)
	for _, key := range st.keys("s") {
		st.check(st.client.HIncrBy(context.Background(), key, "!t", -5*time.Minute.Milliseconds()).Err())
	}
	return b, nil
}

// A process dies between any two commands of an operation, or after a command has reached
// Redis and before the reply comes back. At every such moment: ended sessions stay ended,
// no browser loses its session, and the list is right.
func TestKillAnywhere(t *testing.T) {
	redistest.Long(t)
	each(t, func(t *testing.T, srv *redistest.Server) {
		for _, story := range stories {
			if srv.Name() == "embedded" && len(story.othersBefore) == witnesses {
				continue // it looks at all its keys for each command
			}
			t.Run(story.name, func(t *testing.T) {
				t.Parallel()
				for _, replied := range []bool{false, true} {
					points := 0
					for done := false; !done; {
						points++
						done = story.dies(t, srv, stop{points, replied})
					}
					if points == 1 {
						t.Errorf("it sends no command")
					}
					t.Logf("killed at %d commands, replied %v", points-1, replied)
				}
			})
		}
	})
}

// dies runs the story in a process that is killed at the point, and reports whether the
// story was over before that.
func (story story) dies(t *testing.T, srv *redistest.Server, at stop) (done bool) {
	t.Helper()
	client, prefix := srv.Client(t), redistest.Prefix(t)
	k := killed{Addrs: srv.Addrs(), Cluster: srv.Name() == "cluster", Prefix: prefix, Cap: story.cap, Paths: story.paths, Stop: at}
	acting, others := story.set(newSiteOn(t, client, prefix, k.config))
	if acting != nil {
		k.Cookie = acting.Cookie(cookieName)
	}
	cookie, answered, done := k.kill(t)

	st := newSiteOn(t, client, prefix, k.config) // a process that knows nothing
	processSite(st)
	sees := func(cookie string) string {
		b := st.browser()
		b.SetCookie(cookieName, cookie)
		resp := b.Do("POST", "/look")
		if resp.StatusCode != http.StatusOK {
			return ""
		}
		return body(resp)
	}
	look := func() (own string, rest []string) {
		for _, other := range others {
			rest = append(rest, sees(other.Cookie(cookieName)))
		}
		return sees(k.Cookie), rest
	}
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("killed at command %d, replied %v (answered %v): %s", at.Command, at.Replied, answered, fmt.Sprintf(format, args...))
	}
	own, rest := look()
	// Of sessions made in the same millisecond, either may count as the oldest.
	sorted := slices.Sorted(slices.Values(rest))
	old := own == story.before && slices.Equal(sorted, story.othersBefore)
	all := own == story.after && slices.Equal(sorted, story.othersAfter)
	switch {
	case story.fresh != "" && cookie == "" && own != story.before:
		fail("the browser has no new cookie, and sees %q with its own, want %q", own, story.before)
	case story.fresh == "" && !old && !all, story.fresh != "" && own != story.before && own != story.after:
		fail("the browser sees %q, the others %q: neither before nor after", own, rest)
	case answered && (story.fresh == "" && !all || !slices.Equal(sorted, story.othersAfter)):
		fail("the browser sees %q, the others %q: not done", own, rest)
	}
	if cookie != "" {
		if got := sees(cookie); got != story.fresh {
			fail("the browser sees %q with its new cookie, want %q", got, story.fresh)
		}
		// The new session has just been used, so the old session of a guest or the same
		// user has ended.
		if got := sees(k.Cookie); story.paths[0] == "/login" && story.set != nil && story.before != "" && !strings.HasPrefix(story.before, "bob") && got != "" {
			fail("the new cookie was used, and the browser sees %q with its old one", got)
		}
	}
	story.list(t, st, fail)
	againOwn, againRest := look()
	if own == "" && againOwn != "" || cookie != "" && sees(cookie) != story.fresh {
		fail("the browser saw %q, and later %q", own, againOwn)
	}
	if !slices.Equal(againRest, rest) {
		fail("the others saw %q, and later %q", rest, againRest)
	}
	redistest.NoImmortalKeys(t, client, prefix)
	return done
}

// list reads the sessions of the users and holds the index against them.
func (story story) list(t *testing.T, st *site, fail func(string, ...any)) {
	t.Helper()
	listed := 0
	for _, user := range []string{"alice", "bob"} {
		for cursor, more := "", true; more; more = cursor != "" {
			infos, next, err := st.m.List(t.Context(), user, cursor)
			st.check(err)
			listed, cursor = listed+len(infos), next
		}
	}
	records := st.keys("s")
	var index []string
	for _, key := range st.keys("u") {
		index = append(index, st.client.ZRange(t.Context(), key, 0, -1).Val()...)
	}
	for _, member := range index {
		if !slices.ContainsFunc(records, func(key string) bool { return strings.HasSuffix(key, member) }) {
			fail("the index has a dead member")
		}
	}
	if len(index) != listed {
		fail("%d sessions listed, %d in the index", listed, len(index))
	}
}
