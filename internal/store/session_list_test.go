package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

func TestList(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		want(t, "nobody", len(r.infos("nobody", 10)), 0)
		l := r.login("alice", func(c *store.SessionCreate) {
			c.UserAgent, c.Label, c.IP, c.Level = "UA", "Label", "192.0.2.0", 2
		})
		r.now += 60_000
		r.touch(l)
		got := r.infos("alice", 10)
		record := r.load(l)
		if len(got) != 1 || got[0] != (store.SessionInfo{
			Member: l.keys.Member, SessionMeta: store.SessionMeta{
				PublicID: l.id, Created: time.UnixMilli(r.now - 60_000), Seen: time.UnixMilli(r.now), Absolute: time.UnixMilli(r.now - 60_000).Add(life),
				Idle: idle, Authenticated: record.Authenticated, Level: 2, UserAgent: "UA", Label: "Label", IP: "192.0.2.0",
			},
		}) {
			t.Errorf("list = %+v", got)
		}
		// Many with one expiry, over pages of any size, each once.
		var all []string
		for range 40 {
			all = append(all, r.login("bob").id)
		}
		slices.Sort(all)
		for _, n := range []int{1, 7, 39, 40, 41, 100} {
			t.Run(fmt.Sprintf("pages of %d", n), func(t *testing.T) {
				var ids []string
				for _, info := range r.infos("bob", n) {
					ids = append(ids, info.PublicID)
				}
				slices.Sort(ids)
				if !slices.Equal(ids, all) {
					t.Errorf("in pages of %d: %d sessions, want %d", n, len(ids), len(all))
				}
			})
		}
		for _, c := range []struct{ name, cursor string }{
			{"no dot", "x"}, {"no member", "1."}, {"no number", "." + random(32)}, {"float", "1e3." + random(32)},
			{"negative", "-1." + random(32)}, {"short member", "1." + random(31)},
		} {
			t.Run(c.name, func(t *testing.T) {
				if _, _, err := r.store.SessionList(t.Context(), r.user("bob"), 0, c.cursor, 10); err == nil {
					t.Errorf("cursor %q was taken, want an error", c.cursor)
				}
			})
		}
	})
}

func TestListSkipsNobodyWhileSessionsComeAndGo(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		var logins []login
		for range 30 {
			logins = append(logins, r.login("alice"))
		}
		page, cursor, err := r.store.SessionList(t.Context(), r.user("alice"), 0, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for i, info := range page {
			seen[info.PublicID] = true
			if i%2 == 1 { // the last of the page among them, to which the cursor points
				keys := r.user("alice")
				keys.Member = info.Member
				r.drop(login{keys: keys}, false)
			}
		}
		for cursor != "" {
			page, cursor, err = r.store.SessionList(t.Context(), r.user("alice"), 0, cursor, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range page {
				seen[info.PublicID] = true
			}
		}
		for i, l := range logins {
			if !seen[l.id] {
				t.Errorf("session %d was skipped", i)
			}
		}
	})
}

func TestListHealsTheIndex(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		evicted, kept := r.login("alice"), r.login("alice")
		r.login("alice", func(c *store.SessionCreate) { c.Idle = time.Minute })
		corrupt := r.login("alice")
		r.client.HSet(t.Context(), r.recordKey(corrupt), "!m", "garbage")
		r.client.Del(t.Context(), r.recordKey(evicted))
		r.now += 60_000
		want(t, "list", strings.Join(r.list("alice"), " "), kept.id)
		want(t, "index", strings.Join(r.members("alice"), " "), kept.keys.Member)
		want(t, "corrupt record", r.load(corrupt).Found, false)
		want(t, "commit to it", r.commit(corrupt, set("x", "1")), store.SessionGone)
	})
}
