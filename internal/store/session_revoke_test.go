package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

func TestEpochGrowsAlsoWhenTheClockDoesNot(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		first, _ := r.epoch("alice", nil)
		second, _ := r.epoch("alice", nil)
		r.now -= time.Hour.Milliseconds()
		third, _ := r.epoch("alice", nil)
		if second != first+1 || third != first+2 {
			t.Errorf("epochs %d, %d, %d", first, second, third)
		}
		if ttl := r.pttl(r.userKey("e", "alice")); !about(ttl, life) {
			t.Errorf("TTL of the epoch %v, want %v", ttl, life)
		}
	})
}

func TestRevokeUserEndsSessionsAtOnce(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		a, b, c, d := r.login("alice"), r.login("alice"), r.login("alice"), r.login("alice")
		bob, guest := r.login("bob"), r.login("")
		// The index is lost: only the epoch can reach the sessions.
		r.client.Del(t.Context(), r.userKey("u", "alice"))
		epoch, status := r.epoch("alice", nil)
		want(t, "status", status, store.SessionOK)
		want(t, "touch", r.touch(a).Status, store.SessionGone)
		want(t, "commit", r.commit(b, set("x", "1")), store.SessionGone)
		want(t, "confirm", r.confirm(c, c.token).Status, store.SessionGone)
		want(t, "rotate", r.rotate(d, d.token, 1, "next").Status, store.SessionGone)
		for _, l := range []login{a, b, c, d} {
			want(t, "found", r.load(l).Found, false)
		}
		want(t, "bob", r.touch(bob).Status, store.SessionOK)
		want(t, "guest", r.touch(guest).Status, store.SessionOK)
		r.now++
		later := r.login("alice")
		want(t, "revoked", r.revokePages("alice", epoch, ""), 0)
		want(t, "later login", r.touch(later).Status, store.SessionOK)
	})
}

func TestRevokeOthersKeepsOne(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		kept, other := r.login("alice"), r.login("alice")
		reply, err := r.store.SessionEpoch(t.Context(), r.user("alice"), &kept.keys, r.global, life)
		want(t, "error", err, nil)
		want(t, "status", reply.Status, store.SessionOK)
		want(t, "kept", r.commit(kept, set("x", "1")), store.SessionOK)
		want(t, "revoked", reply.Revoked, 1)
		want(t, "next", reply.Next, "")
		want(t, "other", r.touch(other).Status, store.SessionGone)
		want(t, "list", strings.Join(r.list("alice"), " "), kept.id)

		// What somebody has ended ends no others.
		_, status := r.epoch("alice", &other.keys)
		want(t, "by a dead session", status, store.SessionGone)
		want(t, "kept", r.touch(kept).Status, store.SessionOK)
	})
}

func TestRevokeEveryone(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		alice, bob, guest := r.login("alice"), r.login("bob"), r.login("")
		before, err := r.store.SessionGlobalEpoch(t.Context())
		if before != 0 || err != nil {
			t.Fatalf("global epoch = %d, %v", before, err)
		}
		epoch, err := r.store.SessionRevokeAll(t.Context(), life)
		if err != nil {
			t.Fatal(err)
		}
		again, err := r.store.SessionRevokeAll(t.Context(), life)
		if err != nil || again <= epoch {
			t.Errorf("second epoch %d after %d, %v", again, epoch, err)
		}
		read, err := r.store.SessionGlobalEpoch(t.Context())
		if read != again || err != nil {
			t.Errorf("global epoch = %d, %v; want %d", read, err, again)
		}
		want(t, "by a process that has not heard", r.touch(bob).Status, store.SessionOK)
		r.global = read
		want(t, "touch", r.touch(alice).Status, store.SessionGone)
		want(t, "commit", r.commit(guest, set("x", "1")), store.SessionGone)
		want(t, "list", len(r.list("bob")), 0)
		want(t, "bob's index", len(r.members("bob")), 0)
		want(t, "later", r.touch(r.login("alice")).Status, store.SessionOK)
		if ttl := r.pttl(r.prefix + ":g"); !about(ttl, life+24*time.Hour) {
			t.Errorf("TTL of the global epoch = %v", ttl)
		}
	})
}

func TestRevokeByPublicID(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		n := 20
		if r.server.Name() == "single" {
			n = 1100 // three pages
		}
		var logins []login
		for range n {
			logins = append(logins, r.login("alice"))
		}
		bob := r.login("bob")
		for _, i := range []int{0, n / 2, n - 1} {
			found, err := r.store.SessionRevoke(t.Context(), r.user("alice"), logins[i].id)
			if !found || err != nil {
				t.Errorf("revoke of session %d: %v, %v", i, found, err)
			}
			want(t, "found", r.load(logins[i]).Found, false)
			want(t, "commit fails", r.commit(logins[i], set("x", "1")) == store.SessionOK, false)
			found, err = r.store.SessionRevoke(t.Context(), r.user("alice"), logins[i].id)
			if found || err != nil {
				t.Errorf("second revoke of session %d: %v, %v", i, found, err)
			}
		}
		found, err := r.store.SessionRevoke(t.Context(), r.user("alice"), bob.id)
		if found || err != nil {
			t.Errorf("revoke of another user's session: %v, %v", found, err)
		}
		want(t, "bob", r.touch(bob).Status, store.SessionOK)
		want(t, "index", len(r.members("alice")), n-3)
	})
}
