package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

func TestDropLeavesAMarker(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l, plain := r.login("alice"), r.login("alice")
		want(t, "drop", r.drop(l, true), store.SessionOK)
		want(t, "again", r.drop(l, true), store.SessionGone)
		want(t, "plain", r.drop(plain, false), store.SessionOK)
		want(t, "marker", r.load(l).Superseded, true)
		want(t, "no marker", r.load(plain).Superseded, false)
		want(t, "commit", r.commit(l, set("x", "1")), store.SessionSuperseded)
		want(t, "commit", r.commit(plain, set("x", "1")), store.SessionGone)
		want(t, "touch", r.touch(l).Status, store.SessionSuperseded)
		want(t, "rotate", r.rotate(l, l.token, 1, "n").Status, store.SessionSuperseded)
		want(t, "elevate", r.elevate(l, l.token, "n", 2).Status, store.SessionSuperseded)
		want(t, "confirm", r.confirm(l, l.token).Status, store.SessionSuperseded)
		want(t, "index", len(r.members("alice")), 0)
		if ttl := r.pttl(r.recordKey(l)); ttl > 10*time.Second || ttl < time.Second {
			t.Errorf("TTL of the marker = %v, want 10s", ttl)
		}
		// A guest that expired while its browser logged in leaves word all the same.
		guest := login{keys: r.create("").Keys}
		want(t, "drop of nothing", r.drop(guest, true), store.SessionGone)
		want(t, "its marker", r.load(guest).Superseded, true)
	})
}

// A user id appears in no key, and all keys of a session have one hash tag.
func TestSessionKeysAreHashedAndShareASlot(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for _, user := range []string{"a}b{c", "x@example.com", strings.Repeat("u", 300), "\x00", "*"} {
			l := r.login(user)
			want(t, "owner", value(r.load(l), "!o"), user)
			want(t, "list", len(r.list(user)), 1)
			if r.epoch(user, nil); r.load(l).Found {
				t.Errorf("%q: not revoked", user)
			}
			for _, key := range redistest.Keys(t, r.client, r.prefix) {
				if strings.Contains(key, user) && user != "*" || strings.Count(key, "{") != 1 {
					t.Errorf("key %q", key)
				}
			}
		}
	})
}

func TestEventsArePublished(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		r := newRig(t, s, nil)
		sub := r.client.Subscribe(t.Context(), r.prefix+":ev")
		defer sub.Close()
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		uh := store.MakeTag("user", "alice")
		next := func(format string, args ...any) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			m, err := sub.ReceiveMessage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			want(t, "event", m.Payload, fmt.Sprintf(format, args...)+fmt.Sprint(" ", r.now))
		}
		one := func(c *store.SessionCreate) { c.Cap = 1 }
		a := r.login("alice")
		next("created %s %s %s login", a.id, uh, a.keys.Member)
		guest := r.login("")
		next("created %s - %s guest", guest.id, guest.keys.Member)
		r.now++
		b := r.login("alice", one)
		next("evicted %s %s %s cap", a.id, uh, a.keys.Member)
		next("created %s %s %s login", b.id, uh, b.keys.Member)
		c := r.login("alice", one, func(c *store.SessionCreate) { c.Replace = b.keys.Member })
		next("created %s %s %s login", c.id, uh, c.keys.Member)
		r.drop(b, true)
		next("revoked %s %s %s logout", b.id, uh, b.keys.Member)
		r.drop(guest, true)
		next("revoked %s - %s logout", guest.id, guest.keys.Member)
		r.rotate(c, c.token, 1, "n1")
		r.confirm(c, "n1")
		next("rotated %s %s %s confirmed", c.id, uh, c.keys.Member)
		r.rotate(c, "n1", 1, "n2")
		r.elevate(c, "n1", "n3", 2)
		next("rotated %s %s %s elevated", c.id, uh, c.keys.Member)
		r.epoch("alice", &c.keys)
		next("revoked - %s %s others", uh, c.keys.Member)
		if _, err := r.store.SessionRevoke(t.Context(), r.user("alice"), c.id); err != nil {
			t.Fatal(err)
		}
		next("revoked %s %s %s one", c.id, uh, c.keys.Member)
		d := r.login("bob")
		sub2, _ := sub.ReceiveMessage(t.Context())
		want(t, "created", strings.HasPrefix(sub2.Payload, "created "+d.id), true)
		r.confirm(d, "forged")
		bob := store.MakeTag("user", "bob")
		next("replayed %s %s %s revoked", d.id, bob, d.keys.Member)
		r.epoch("alice", nil)
		next("revoked - %s - user", uh)
		if _, err := r.store.SessionRevokeAll(t.Context(), life); err != nil {
			t.Fatal(err)
		}
		m, err := sub.ReceiveMessage(t.Context())
		if err != nil || !strings.HasPrefix(m.Payload, "revoked - - - everyone ") {
			t.Errorf("event %v, %v", m, err)
		}
	})
}
