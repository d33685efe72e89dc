package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

func TestSessionCreateAndLoad(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		c := r.create("alice")
		c.Level, c.UserAgent, c.Label, c.IP = 2, "Firefox", "laptop", "192.0.2.1"
		c.Values = []store.Field{{Name: "cart", Value: "a\r\n\x00b"}, {Name: "empty", Value: ""}}
		for run := range 2 { // the second run is a repetition after a lost reply
			reply, err := r.store.SessionCreate(t.Context(), c)
			if err != nil || reply.Status != store.SessionOK || !reply.Now.Equal(time.UnixMilli(r.now)) || reply.Epoch != 0 || reply.Evicted != 0 {
				t.Fatalf("create, run %d: %+v, %v", run, reply, err)
			}
		}
		l := login{c.Keys, c.PublicID, c.TokenHash}
		got := r.load(l)
		want(t, "found", got.Found, true)
		want(t, "superseded", got.Superseded, false)
		want(t, "public id", got.PublicID, c.PublicID)
		want(t, "created", got.Created, time.UnixMilli(r.now))
		want(t, "absolute", got.Absolute, time.UnixMilli(r.now+life.Milliseconds()))
		want(t, "idle", got.Idle, idle)
		want(t, "seen", got.Seen, time.UnixMilli(r.now))
		want(t, "level", got.Level, 2)
		want(t, "owner", got.Owner(), "alice")
		want(t, "device", got.UserAgent+" "+got.Label+" "+got.IP, "Firefox laptop 192.0.2.1")
		want(t, "token", string(got.Tokens().Current), c.TokenHash)
		want(t, "cart", value(got, "cart"), "a\r\n\x00b")
		want(t, "empty", value(got, "empty"), "")
		want(t, "absent", value(got, "absent"), "(none)")
		n := 0
		for name := range got.Values() {
			n++
			if name != "cart" && name != "empty" {
				t.Errorf("Values yields %q", name)
			}
		}
		want(t, "values", n, 2)
		if !about(r.pttl(r.recordKey(l)), idle) || !about(r.pttl(r.userKey("u", "alice")), idle) {
			t.Errorf("TTL of record %v and index %v, want %v", r.pttl(r.recordKey(l)), r.pttl(r.userKey("u", "alice")), idle)
		}
		other := l
		other.keys.Member = random(32)
		want(t, "unknown series found", r.load(other).Found, false)
	})
}

func TestSessionCreateGuest(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("", func(c *store.SessionCreate) { c.Cap = 1 })
		got := r.load(l)
		want(t, "found", got.Found, true)
		want(t, "owner", got.Owner(), "")
		want(t, "auth", got.Authenticated, time.Time{})
		want(t, "keys", len(redistest.Keys(t, r.client, r.prefix)), 1)
		want(t, "commit", r.commit(l, set("a", "1")), store.SessionOK)
		want(t, "touch", r.touch(l).Status, store.SessionOK)
		want(t, "drop", r.drop(l, true), store.SessionOK)
		want(t, "superseded", r.load(l).Superseded, true)
	})
}

func TestSessionNamesOfTheKitAreRefused(t *testing.T) {
	r := newRig(t, redistest.Embedded(t), nil)
	l := r.login("alice")
	for _, name := range []string{"", "!s", "!x"} {
		c := r.create("alice")
		c.Values = []store.Field{{Name: name}}
		if _, err := r.store.SessionCreate(t.Context(), c); err == nil {
			t.Errorf("create took a field %q", name)
		}
		for i, f := range []func(*store.SessionCommit){set(name, ""), remove(name), add(name, 1)} {
			c := store.SessionCommit{Keys: l.keys, Nonce: "n"}
			f(&c)
			if _, err := r.store.SessionCommit(t.Context(), c); err == nil {
				t.Errorf("commit %d took a field %q", i, name)
			}
		}
		if _, err := r.store.SessionPop(t.Context(), l.keys, 0, name); err == nil {
			t.Errorf("pop took a field %q", name)
		}
		if _, err := r.store.SessionSetNX(t.Context(), l.keys, 0, name, ""); err == nil {
			t.Errorf("setnx took a field %q", name)
		}
		if _, err := r.store.SessionCompareAndSet(t.Context(), store.SessionSwap{Keys: l.keys, Name: name}); err == nil {
			t.Errorf("compare and set took a field %q", name)
		}
	}
}

func TestLoginAuthenticatedBeforeRevocationIsStale(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.login("alice")
		epoch, _ := r.epoch("alice", nil)
		want(t, "epoch", epoch, r.now*1000)
		for _, c := range []struct {
			name  string
			after time.Duration // of the create after the epoch
			began time.Duration // before the create
			known int64
			want  store.SessionStatus
		}{
			{"before", 100 * time.Millisecond, 300 * time.Millisecond, 0, store.SessionStale},
			{"before, an epoch ago known", 100 * time.Millisecond, 300 * time.Millisecond, epoch - 1, store.SessionStale},
			{"in the same request", 100 * time.Millisecond, 300 * time.Millisecond, epoch, store.SessionOK},
			{"after", time.Minute, time.Second, 0, store.SessionOK},
			{"clock stepped back since", -time.Hour, time.Second, 0, store.SessionOK},
		} {
			t.Run(c.name, func(t *testing.T) {
				create := r.create("alice")
				create.Keys.Now = r.now + c.after.Milliseconds()
				create.Authenticated, create.KnownEpoch = time.Now().Add(-c.began), c.known
				reply, err := r.store.SessionCreate(t.Context(), create)
				if err != nil || reply.Status != c.want || reply.Epoch != epoch {
					t.Errorf("%+v, %v; want status %d, epoch %d", reply, err, c.want, epoch)
				}
				r.now += c.after.Milliseconds()
				found := r.load(login{keys: create.Keys}).Found
				want(t, c.name+": found", found, c.want == store.SessionOK)
				if found {
					want(t, c.name+": commit", r.commit(login{keys: create.Keys}), store.SessionOK)
				}
				r.now -= c.after.Milliseconds()
			})
		}
	})
}

// The user is revoked within the round trip of the login. The script replies OK, but the
// time at the reply shows that the user may have authenticated before the revocation.
func TestLoginAmbiguousWithinItsOwnRoundTripIsStale(t *testing.T) {
	s := redistest.NewSingle(t)
	proxy := redistest.NewProxy(t, s.Addrs()[0])
	r := newRig(t, s, redistest.NewClient(t, proxy.Addr()))
	direct, err := store.New(s.Client(t), store.Options{Prefix: r.prefix, Budget: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	r.now = 0
	r.login("alice")
	proxy.DelayReplies(100 * time.Millisecond)
	c := r.create("alice")
	c.Authenticated = time.Now()
	if _, err := direct.SessionEpoch(t.Context(), r.user("alice"), nil, 0, life); err != nil {
		t.Fatal(err)
	}
	c.Authenticated = time.Now()
	reply, err := r.store.SessionCreate(t.Context(), c)
	if err != nil || reply.Status != store.SessionStale {
		t.Errorf("with replies that are late by 100 ms: %+v, %v", reply, err)
	}
	want(t, "found", r.load(login{keys: c.Keys}).Found, false)
	proxy.Heal()
	time.Sleep(5 * time.Millisecond)
	c = r.create("alice")
	c.Authenticated = time.Now()
	reply, err = r.store.SessionCreate(t.Context(), c)
	if err != nil || reply.Status != store.SessionOK {
		t.Errorf("5 ms after the revocation: %+v, %v", reply, err)
	}
}

func TestRevokePageSparesLaterLogins(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		const n = 250 // three pages
		for range n {
			r.login("alice")
		}
		evicted := r.login("alice")
		r.client.Del(t.Context(), r.recordKey(evicted))
		reply, err := r.store.SessionEpoch(t.Context(), r.user("alice"), nil, r.global, life)
		want(t, "error", err, nil)
		// The first page went with the epoch: a program that ends here has ended all that
		// most users have.
		gone := n + 1 - len(r.members("alice"))
		if want(t, "left", len(r.members("alice")), n+1-100); reply.Revoked < gone-1 || reply.Revoked > gone {
			t.Errorf("%d sessions removed with the epoch, and counted %d", gone, reply.Revoked)
		}
		r.now++
		var later []string
		for range 120 {
			later = append(later, r.login("alice").id)
		}
		want(t, "revoked", reply.Revoked+r.revokePages("alice", reply.Epoch, reply.Next), n)
		want(t, "again", r.revokePages("alice", reply.Epoch, ""), 0)
		want(t, "index", len(r.members("alice")), len(later))
		got := r.list("alice")
		slices.Sort(got)
		slices.Sort(later)
		if !slices.Equal(got, later) {
			t.Errorf("%d sessions left, want the %d later ones", len(got), len(later))
		}
		want(t, "records", len(redistest.Keys(t, r.client, r.prefix+":s:")), len(later))
	})
}

func TestCapEvicts(t *testing.T) {
	for _, policy := range []store.CapPolicy{store.CapEvictOldest, store.CapEvictLeastRecent, store.CapRefuse} {
		t.Run(string(rune(policy)), func(t *testing.T) {
			each(t, func(t *testing.T, r *rig) {
				capped := func(c *store.SessionCreate) { c.Cap, c.CapPolicy = 3, policy }
				var logins []login
				for range 3 {
					logins = append(logins, r.login("alice", capped))
					r.now += 1000
				}
				r.now += 120_000
				want(t, "touch", r.touch(logins[0]).Status, store.SessionOK) // the oldest is the most recent
				c := r.create("alice")
				capped(&c)
				reply, err := r.store.SessionCreate(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				victim := map[store.CapPolicy]int{store.CapEvictOldest: 0, store.CapEvictLeastRecent: 1, store.CapRefuse: -1}[policy]
				want(t, "status", reply.Status, map[bool]store.SessionStatus{true: store.SessionOK, false: store.SessionCapReached}[victim >= 0])
				want(t, "evicted", reply.Evicted, map[bool]int{true: 1, false: 0}[victim >= 0])
				for i, l := range logins {
					want(t, fmt.Sprint("session ", i, " lives"), r.load(l).Found, i != victim)
				}
				want(t, "new one lives", r.load(login{keys: c.Keys}).Found, victim >= 0)
				want(t, "listed", len(r.list("alice")), 3)
			})
		})
	}
}

func TestCapCountsOnlyTheLiving(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		refuse := func(c *store.SessionCreate) { c.Cap, c.CapPolicy = 3, store.CapRefuse }
		r.login("alice", refuse, func(c *store.SessionCreate) { c.Idle = time.Minute })
		lost, kept := r.login("alice", refuse), r.login("alice", refuse)
		r.now += 61_000 // the first has expired; on the embedded server its key may be there still
		fourth := r.login("alice", refuse)
		r.client.Del(t.Context(), r.recordKey(lost)) // evicted by Redis
		fifth := r.login("alice", refuse)
		got := r.members("alice")
		slices.Sort(got)
		expected := []string{kept.keys.Member, fourth.keys.Member, fifth.keys.Member}
		slices.Sort(expected)
		if !slices.Equal(got, expected) {
			t.Errorf("index holds %v, want %v", got, expected)
		}
	})
}

// After a revocation that was not finished the dead sessions do not count, though the
// index is full of them.
func TestCapDoesNotCountRevokedSessions(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		refuse := func(c *store.SessionCreate) { c.Cap, c.CapPolicy = 2, store.CapRefuse }
		r.login("alice", refuse)
		r.login("alice", refuse)
		r.epoch("alice", nil)
		r.now++
		r.login("alice", refuse)
		want(t, "index", len(r.members("alice")), 1)
		want(t, "records", len(redistest.Keys(t, r.client, r.prefix+":s:")), 1)
	})
}

func TestLoweredCapEvictsAtMost64(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for range 100 {
			r.login("alice")
		}
		r.now++
		c := r.create("alice")
		c.Cap = 5
		reply, err := r.store.SessionCreate(t.Context(), c)
		if err != nil || reply.Status != store.SessionOK || reply.Evicted != 64 {
			t.Fatalf("first login: %+v, %v", reply, err)
		}
		c = r.create("alice")
		c.Cap = 5
		if reply, err = r.store.SessionCreate(t.Context(), c); err != nil || reply.Evicted != 33 {
			t.Fatalf("second login: %+v, %v", reply, err)
		}
		want(t, "listed", len(r.list("alice")), 5)
	})
}

// The session that a login of the same user replaces does not count, and lives until the
// caller drops it. So if the process dies before the response, the browser stays logged
// in.
func TestReLoginFreesThePlaceOfTheOld(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		refuse := func(c *store.SessionCreate) { c.Cap, c.CapPolicy = 2, store.CapRefuse }
		old, other := r.login("alice", refuse), r.login("alice", refuse)
		r.now++
		l := r.login("alice", refuse, func(c *store.SessionCreate) { c.Replace = old.keys.Member })
		want(t, "old lives", r.commit(old, set("x", "1")), store.SessionOK)
		want(t, "old dropped", r.drop(old, true), store.SessionOK)
		want(t, "old superseded", r.load(old).Superseded, true)
		got, expected := r.list("alice"), []string{other.id, l.id}
		if !slices.Equal(got, expected) {
			t.Errorf("listed %v, want %v", got, expected)
		}
	})
}

// The user ends a session from another device while its creation waits to be repeated
// after a lost reply.
func TestRevokedCreationIsNotRepeated(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		c := r.create("alice")
		if reply, err := r.store.SessionCreate(t.Context(), c); err != nil || reply.Status != store.SessionOK {
			t.Fatal(reply, err)
		}
		if found, err := r.store.SessionRevoke(t.Context(), r.user("alice"), c.PublicID); !found || err != nil {
			t.Fatal(found, err)
		}
		reply, err := r.store.SessionCreate(t.Context(), c)
		want(t, "second run", reply.Status, store.SessionGone)
		want(t, "error", err, nil)
		want(t, "found", r.load(login{keys: c.Keys}).Found, false)
		// An old session needs no marker.
		old := r.login("alice")
		r.now += 10_000
		if found, err := r.store.SessionRevoke(t.Context(), r.user("alice"), old.id); !found || err != nil {
			t.Fatal(found, err)
		}
		want(t, "superseded", r.load(old).Superseded, false)
	})
}
