package store_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/redis/go-redis/v9"
)

// rig is a store on one deployment, with a clock of its own.
type rig struct {
	t      testing.TB
	server *redistest.Server
	client redis.UniversalClient
	store  *store.Store
	prefix string
	tag    string
	now    int64 // unix ms
	global int64 // what callers believe the global epoch to be
}

const (
	idle = 30 * time.Minute
	life = 12 * time.Hour
)

func newRig(t testing.TB, s *redistest.Server, client redis.UniversalClient) *rig {
	t.Helper()
	if client == nil {
		client = s.Client(t)
	}
	r := &rig{t: t, server: s, client: client, prefix: redistest.Prefix(t), tag: random(2), now: time.Now().UnixMilli()}
	kv, err := store.New(client, store.Options{Prefix: r.prefix, Budget: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	r.store = kv
	return r
}

// each runs f on every deployment, and looks for keys without TTL afterwards.
func each(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		r := newRig(t, s, nil)
		f(t, r)
		redistest.NoImmortalKeys(t, r.client, r.prefix)
	})
}

// random is n characters of base64url.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)[:n]
}

// login is one session as the tests know it.
type login struct {
	keys  store.SessionKeys
	id    string
	token string // hash
}

func (r *rig) user(name string) store.SessionKeys {
	return store.SessionKeys{Tag: r.tag, User: name, Now: r.now}
}

func (r *rig) at(keys store.SessionKeys) store.SessionKeys {
	keys.Now = r.now
	return keys
}

// create is a session to be, of a user or a guest ("").
func (r *rig) create(user string) store.SessionCreate {
	return store.SessionCreate{
		Keys:     store.SessionKeys{Tag: r.tag, Member: random(32), User: user, Now: r.now},
		PublicID: random(22), TokenHash: random(43), Idle: idle, Life: life, GlobalEpoch: r.global,
		// Long ago by the test's clock, which stands still; ahead of all epochs.
		Authenticated: time.Now().Add(time.Hour),
	}
}

func (r *rig) login(user string, modify ...func(*store.SessionCreate)) login {
	r.t.Helper()
	c := r.create(user)
	for _, f := range modify {
		f(&c)
	}
	reply, err := r.store.SessionCreate(r.t.Context(), c)
	if err != nil || reply.Status != store.SessionOK {
		r.t.Fatalf("create: %+v, %v", reply, err)
	}
	return login{c.Keys, c.PublicID, c.TokenHash}
}

func (r *rig) load(l login) store.SessionRecord {
	r.t.Helper()
	record, err := r.store.SessionLoad(r.t.Context(), r.at(l.keys))
	if err != nil {
		r.t.Fatalf("load: %v", err)
	}
	return record
}

func (r *rig) touch(l login) store.SessionTouchReply {
	r.t.Helper()
	reply, err := r.store.SessionTouch(r.t.Context(), store.SessionTouch{Keys: r.at(l.keys), GlobalEpoch: r.global, Every: time.Minute})
	if err != nil {
		r.t.Fatalf("touch: %v", err)
	}
	return reply
}

func (r *rig) commit(l login, modify ...func(*store.SessionCommit)) store.SessionStatus {
	r.t.Helper()
	c := store.SessionCommit{Keys: r.at(l.keys), GlobalEpoch: r.global, Nonce: random(11)}
	for _, f := range modify {
		f(&c)
	}
	reply, err := r.store.SessionCommit(r.t.Context(), c)
	if err != nil {
		r.t.Fatalf("commit: %v", err)
	}
	return reply.Status
}

func set(name, value string) func(*store.SessionCommit) {
	return func(c *store.SessionCommit) { c.Set = append(c.Set, store.Field{Name: name, Value: value}) }
}

func add(name string, n int64) func(*store.SessionCommit) {
	return func(c *store.SessionCommit) { c.Add = append(c.Add, store.Delta{Name: name, Add: n}) }
}

func remove(name string) func(*store.SessionCommit) {
	return func(c *store.SessionCommit) { c.Delete = append(c.Delete, name) }
}

func (r *rig) drop(l login, marker bool) store.SessionStatus {
	r.t.Helper()
	reply, err := r.store.SessionDrop(r.t.Context(), r.at(l.keys), marker, "logout")
	if err != nil {
		r.t.Fatalf("drop: %v", err)
	}
	return reply.Status
}

func (r *rig) confirm(l login, token string) store.SessionConfirmReply {
	r.t.Helper()
	reply, err := r.store.SessionConfirm(r.t.Context(), store.SessionConfirm{Keys: r.at(l.keys), GlobalEpoch: r.global, TokenHash: token})
	if err != nil {
		r.t.Fatalf("confirm: %v", err)
	}
	return reply
}

// rotate presents a token and offers next under nonce.
func (r *rig) rotate(l login, token string, nonce int64, next string) store.SessionOffer {
	r.t.Helper()
	reply, err := r.store.SessionRotate(r.t.Context(), store.SessionRotate{
		Keys: r.at(l.keys), GlobalEpoch: r.global, TokenHash: token, Nonce: nonce, NextHash: next})
	if err != nil {
		r.t.Fatalf("rotate: %v", err)
	}
	return reply
}

func (r *rig) elevate(l login, token, next string, level int) store.SessionElevateReply {
	r.t.Helper()
	reply, err := r.store.SessionElevate(r.t.Context(), store.SessionElevate{
		Keys: r.at(l.keys), GlobalEpoch: r.global, TokenHash: token, NextHash: next, Level: level})
	if err != nil {
		r.t.Fatalf("elevate: %v", err)
	}
	return reply
}

// list goes through all pages and returns the public ids.
func (r *rig) list(user string) []string {
	r.t.Helper()
	var ids []string
	for _, info := range r.infos(user, 100) {
		ids = append(ids, info.PublicID)
	}
	return ids
}

func (r *rig) infos(user string, n int) (all []store.SessionInfo) {
	r.t.Helper()
	for cursor := ""; ; {
		page, next, err := r.store.SessionList(r.t.Context(), r.user(user), r.global, cursor, n)
		if err != nil {
			r.t.Fatalf("list: %v", err)
		}
		all = append(all, page...)
		if cursor = next; next == "" {
			return all
		}
	}
}

func (r *rig) epoch(user string, keep *store.SessionKeys) (int64, store.SessionStatus) {
	r.t.Helper()
	reply, err := r.store.SessionEpoch(r.t.Context(), r.user(user), keep, r.global, life)
	if err != nil {
		r.t.Fatalf("epoch: %v", err)
	}
	return reply.Epoch, reply.Status
}

// revokePages removes what the epoch has ended, from the cursor on.
func (r *rig) revokePages(user string, epoch int64, cursor string) (total int) {
	r.t.Helper()
	for {
		n, next, err := r.store.SessionRevokePage(r.t.Context(), r.user(user), epoch, cursor)
		if err != nil {
			r.t.Fatalf("revoke page: %v", err)
		}
		total += n
		if cursor = next; next == "" {
			return total
		}
	}
}

func (r *rig) recordKey(l login) string {
	return fmt.Sprintf("%s:s:{%s}:%s", r.prefix, l.keys.Tag, l.keys.Member)
}

func (r *rig) userKey(kind, user string) string {
	tag := store.MakeTag("user", user)
	return fmt.Sprintf("%s:%s:{%s}:%s", r.prefix, kind, r.tag, tag[:])
}

// members is the index as it is.
func (r *rig) members(user string) []string {
	r.t.Helper()
	return r.client.ZRange(r.t.Context(), r.userKey("u", user), 0, -1).Val()
}

func (r *rig) pttl(key string) time.Duration {
	r.t.Helper()
	return r.client.PTTL(r.t.Context(), key).Val()
}

func about(got, want time.Duration) bool { return (got - want).Abs() < 20*time.Second }

func value(record store.SessionRecord, name string) string {
	v, ok := record.Value(name)
	if !ok {
		return "(none)"
	}
	return string(v)
}

func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func TestSessionCreateAndLoad(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		c := r.create("alice")
		c.Level, c.UserAgent, c.Label, c.IP = 2, "Firefox", "laptop", "192.0.2.1"
		c.Values = []store.Field{{Name: "cart", Value: "a\r\n\x00b"}, {Name: "empty", Value: ""}}
		for run := range 2 { // the second is what a lost reply makes of the first
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

// A revocation within the round trip of the login itself: the script that was sent says
// OK, the time at the reply tells that the user may have authenticated before.
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
// caller drops it: a process that dies ahead of the response leaves the browser logged
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

func TestCommitChangesOnlyItsFields(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("alice", func(c *store.SessionCreate) {
			c.Values = []store.Field{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}, {Name: "n", Value: "-7"}}
		})
		ttl := r.pttl(r.recordKey(l))
		want(t, "commit", r.commit(l, set("a", "9"), remove("b"), add("n", 10), add("new", 4), set("c", ""), func(c *store.SessionCommit) {
			c.Nonce = "nonce"
		}), store.SessionOK)
		got := r.load(l)
		for name, expected := range map[string]string{"a": "9", "b": "(none)", "n": "3", "new": "4", "c": "", "!n": "nonce"} {
			want(t, name, value(got, name), expected)
		}
		if after := r.pttl(r.recordKey(l)); after > ttl {
			t.Errorf("commit moved the TTL from %v to %v", ttl, after)
		}
		nonce, err := r.store.SessionNonce(t.Context(), l.keys)
		if nonce != "nonce" || err != nil {
			t.Errorf("nonce = %q, %v", nonce, err)
		}
		// Add works on what the same commit leaves.
		want(t, "commit", r.commit(l, remove("a"), add("a", 5), set("c", "40"), add("c", 2)), store.SessionOK)
		want(t, "a", value(r.load(l), "a"), "5")
		want(t, "c", value(r.load(l), "c"), "42")
	})
}

func TestCommitOfManyFields(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("alice")
		var many []func(*store.SessionCommit)
		for i := range 1500 {
			many = append(many, set(fmt.Sprint("f", i), "v"))
		}
		want(t, "set", r.commit(l, many...), store.SessionOK)
		for i := range many {
			many[i] = remove(fmt.Sprint("f", i))
		}
		record := r.load(l)
		n := 0
		for range record.Values() {
			n++
		}
		want(t, "fields", n, 1500)
		want(t, "delete", r.commit(l, many...), store.SessionOK)
		record = r.load(l)
		for name := range record.Values() {
			t.Fatalf("%s is still there", name)
		}
	})
}

func TestCommitValidatesBeforeItWrites(t *testing.T) {
	const limit = 1 << 53
	for _, c := range []struct {
		name, value string
		add         int64
		want        store.SessionStatus
	}{
		{"json", `{"a":1}`, 1, store.SessionBadType},
		{"fraction", "1.5", 1, store.SessionBadType},
		{"exponent", "1e3", 1, store.SessionBadType},
		{"hex", "0x10", 1, store.SessionBadType},
		{"empty", "", 1, store.SessionBadType},
		{"space", " 1", 1, store.SessionBadType},
		{"too long", "99999999999999999999", -1, store.SessionBadType},
		{"sum too big", fmt.Sprint(limit - 1), 1, store.SessionBadType},
		{"sum too small", fmt.Sprint(-limit + 1), -1, store.SessionBadType},
		{"delta too big", "0", limit + 1, store.SessionBadType},
		{"biggest", fmt.Sprint(limit - 2), 1, store.SessionOK},
		{"smallest", fmt.Sprint(-limit + 2), -1, store.SessionOK},
		{"to zero", "-5", 5, store.SessionOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, r *rig) {
				l := r.login("alice", func(create *store.SessionCreate) {
					create.Values = []store.Field{{Name: "x", Value: c.value}, {Name: "del", Value: "1"}}
				})
				want(t, "status", r.commit(l, set("other", "1"), remove("del"), add("first", 1), add("x", c.add)), c.want)
				got := r.load(l)
				if c.want == store.SessionOK {
					n := int64(0)
					_, _ = fmt.Sscan(c.value, &n)
					want(t, "x", value(got, "x"), fmt.Sprint(n+c.add))
					return
				}
				for name, expected := range map[string]string{"x": c.value, "other": "(none)", "first": "(none)", "del": "1", "!n": "(none)"} {
					want(t, name+" after a refused commit", value(got, name), expected)
				}
			})
		})
	}
}

func TestDeadlines(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		short := func(c *store.SessionCreate) { c.Idle, c.Life = 10*time.Minute, 25*time.Minute }
		l := r.login("alice", short)
		start := r.now
		r.now = start + (10 * time.Minute).Milliseconds() - 1
		got := r.touch(l)
		want(t, "1 ms before idle", got.Status, store.SessionOK)
		want(t, "seen", got.Seen, time.UnixMilli(r.now))
		r.now = start + (19 * time.Minute).Milliseconds()
		got = r.touch(l)
		want(t, "seen again", got.Status, store.SessionOK)
		want(t, "absolute", got.Absolute, time.UnixMilli(start+(25*time.Minute).Milliseconds()))
		// Idle would be 29 min, but the absolute deadline comes first.
		if ttl := r.pttl(r.recordKey(l)); !about(ttl, 6*time.Minute) {
			t.Errorf("TTL = %v, want 6m", ttl)
		}
		if ttl := r.pttl(r.userKey("u", "alice")); !about(ttl, 6*time.Minute) {
			t.Errorf("TTL of the index = %v, want 6m", ttl)
		}
		r.now = start + (25 * time.Minute).Milliseconds() - 1
		want(t, "commit 1 ms before the end", r.commit(l, set("x", "1")), store.SessionOK)
		r.now++
		for _, c := range []struct {
			name string
			do   func(l login) store.SessionStatus
		}{
			{"touch", func(l login) store.SessionStatus { return r.touch(l).Status }},
			{"commit", func(l login) store.SessionStatus { return r.commit(l, set("x", "2")) }},
			{"rotate", func(l login) store.SessionStatus { return r.rotate(l, l.token, 1, "n").Status }},
			{"confirm", func(l login) store.SessionStatus { return r.confirm(l, l.token).Status }},
			{"elevate", func(l login) store.SessionStatus { return r.elevate(l, l.token, "n", 2).Status }},
			{"pop", func(l login) store.SessionStatus {
				v, err := r.store.SessionPop(t.Context(), r.at(l.keys), 0, "x")
				want(t, "popped", v.Found, false)
				want(t, "pop error", err, nil)
				return v.Status
			}},
			{"setnx", func(l login) store.SessionStatus {
				v, err := r.store.SessionSetNX(t.Context(), r.at(l.keys), 0, "y", "1")
				want(t, "setnx error", err, nil)
				return v.Status
			}},
			{"swap", func(l login) store.SessionStatus {
				v, err := r.store.SessionCompareAndSet(t.Context(), store.SessionSwap{Keys: r.at(l.keys), Name: "x", New: "1"})
				want(t, "swap error", err, nil)
				return v.Status
			}},
			{"revoke others", func(l login) store.SessionStatus { _, status := r.epoch("alice", &l.keys); return status }},
		} {
			// The key is there on all deployments: its TTL is real, the clock is not.
			now := r.now
			r.now = start
			dead := r.login("alice", short)
			r.now = now
			want(t, c.name, c.do(dead), store.SessionGone)
			if c.name != "revoke others" {
				want(t, c.name+": found", r.load(dead).Found, false)
				want(t, c.name+": in the index", slices.Contains(r.members("alice"), dead.keys.Member), false)
			}
		}
	})
}

func TestTouchIsThrottledAndMonotone(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("alice")
		start := r.now
		r.now = start + 59_999
		want(t, "early touch", r.touch(l).Seen, time.UnixMilli(start))
		r.now = start + 60_000
		want(t, "touch", r.touch(l).Seen, time.UnixMilli(start+60_000))
		r.now = start + 58_000 // another process's request, or a small step of the clock
		want(t, "late touch", r.touch(l).Seen, time.UnixMilli(start+60_000))
		want(t, "stored", r.load(l).Seen, time.UnixMilli(start+60_000))
		r.now = start
		l2 := r.login("alice")
		r.now = start + 120_000
		want(t, "touch", r.touch(l2).Status, store.SessionOK)
		score := r.client.ZScore(t.Context(), r.userKey("u", "alice"), l2.keys.Member).Val()
		want(t, "score", int64(score), r.now+idle.Milliseconds())
	})
}

func TestTouchBringsBackALostIndexEntry(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("alice")
		r.client.Del(t.Context(), r.userKey("u", "alice"))
		r.now += 60_000
		r.touch(l)
		want(t, "list", strings.Join(r.list("alice"), " "), l.id)
	})
}

func TestIndexLivesAsLongAsItsLastMember(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		lived := func(d time.Duration) func(*store.SessionCreate) {
			return func(c *store.SessionCreate) { c.Idle, c.Life = d, d }
		}
		long := r.login("alice", lived(30*24*time.Hour))
		short := r.login("alice", lived(5*time.Minute))
		key := r.userKey("u", "alice")
		if ttl := r.pttl(key); !about(ttl, 30*24*time.Hour) {
			t.Errorf("after a shorter login the TTL is %v, want 30 days", ttl)
		}
		r.now += 90_000
		r.touch(short)
		if ttl := r.pttl(key); !about(ttl, 30*24*time.Hour-90*time.Second) {
			t.Errorf("after a shorter one's touch the TTL is %v, want 30 days", ttl)
		}
		score := r.client.ZScore(t.Context(), key, long.keys.Member).Val()
		want(t, "score", int64(score), long.keys.Now+(30*24*time.Hour).Milliseconds())
	})
}

// When the clock steps back, a session has as much time left as it had when it was last
// seen.
func TestClockSteppedBackLengthensNoLife(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("alice", func(c *store.SessionCreate) { c.Level = 2 })
		start := r.now
		r.now = start + (20 * time.Minute).Milliseconds()
		r.touch(l)
		r.rotate(l, l.token, 7, "next")
		r.now += 1000
		r.confirm(l, "next")
		auth := r.load(l).Authenticated
		r.now -= time.Hour.Milliseconds()
		back := time.Hour.Milliseconds() - 1000
		got := r.touch(l)
		want(t, "status", got.Status, store.SessionOK)
		want(t, "seen", got.Seen, time.UnixMilli(r.now))
		want(t, "left", got.Absolute.Sub(time.UnixMilli(r.now)), life-20*time.Minute)
		record := r.load(l)
		want(t, "created", record.Created, time.UnixMilli(start-back))
		want(t, "authenticated", record.Authenticated, auth.Add(-time.Duration(back)*time.Millisecond))
		want(t, "level", record.Level, 2)
		want(t, "confirmed", record.Tokens().Confirmed, time.UnixMilli(start+(20*time.Minute).Milliseconds()+1000-back))
		want(t, "again", r.touch(l).Absolute, got.Absolute)
		score := r.client.ZScore(t.Context(), r.userKey("u", "alice"), l.keys.Member).Val()
		want(t, "score", int64(score), r.now+idle.Milliseconds())
		// The old token does not get an hour of grace.
		r.now += 12_000
		want(t, "previous token", r.confirm(l, l.token).Status, store.SessionReplay)

		// A commit notices as well.
		l = r.login("alice")
		r.now -= time.Hour.Milliseconds()
		want(t, "commit", r.commit(l, set("x", "1")), store.SessionOK)
		want(t, "left after commit", r.load(l).Absolute, time.UnixMilli(r.now+life.Milliseconds()))
		r.now += life.Milliseconds()
		want(t, "at the end", r.touch(l).Status, store.SessionGone)
	})
}

func TestRotation(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("alice")
		first := r.rotate(l, l.token, 11, "next-11")
		want(t, "first", first, store.SessionOffer{SessionReply: store.SessionReply{Status: store.SessionOK, Now: time.UnixMilli(r.now)}, Nonce: 11, Issued: time.UnixMilli(r.now)})
		issued := r.now
		r.now += 9_000
		second := r.rotate(l, l.token, 12, "next-12")
		want(t, "all get the same successor", second.Nonce, 11)
		want(t, "issued", second.Issued, time.UnixMilli(r.now))
		r.now += 9_000
		want(t, "as long as it is handed out", r.rotate(l, l.token, 12, "next-12").Nonce, 11)
		want(t, "old token is good", r.confirm(l, l.token).Status, store.SessionOK)
		want(t, "commit", r.commit(l, set("x", "1")), store.SessionOK)

		// Nobody came with it: the response was lost. After the grace time there is
		// another.
		r.now += 10_001
		want(t, "third", r.rotate(l, l.token, 13, "next-13").Nonce, 13)
		tokens := func() string {
			record := r.load(l)
			k := record.Tokens()
			confirmed := "never"
			if !k.Confirmed.IsZero() {
				confirmed = k.Confirmed.Sub(time.UnixMilli(issued)).String()
			}
			return fmt.Sprintf("%s %s %s %d %s", k.Previous, k.Current, k.Pending, k.Nonce, confirmed)
		}
		want(t, "tokens", tokens(), fmt.Sprintf(" %s next-13 13 never", l.token))

		want(t, "first use", r.confirm(l, "next-13").Status, store.SessionOK)
		want(t, "tokens", tokens(), l.token+" next-13  0 28.001s")
		want(t, "second use", r.confirm(l, "next-13").Status, store.SessionOK)
		r.now += 10_000
		want(t, "old token in grace", r.confirm(l, l.token).Status, store.SessionPrevious)
		want(t, "it rotates nothing", r.rotate(l, l.token, 14, "next-14").Status, store.SessionPrevious)
		want(t, "nor elevates", r.elevate(l, l.token, "up", 2).Status, store.SessionPrevious)
		want(t, "it commits", r.commit(l, set("y", "1")), store.SessionOK)
		want(t, "tokens", tokens(), l.token+" next-13  0 28.001s")
		r.now++
		want(t, "rotate later", r.rotate(l, l.token, 15, "next-15").Status, store.SessionReplay)
		want(t, "alive", r.load(l).Found, true)
		reply, err := r.store.SessionConfirm(t.Context(), store.SessionConfirm{Keys: r.at(l.keys), TokenHash: l.token, RefuseOnly: true})
		want(t, "refuse only", reply.Status, store.SessionReplay)
		want(t, "error", err, nil)
		want(t, "alive", r.load(l).Found, true)
		want(t, "replay", r.confirm(l, l.token).Status, store.SessionReplay)
		want(t, "revoked", r.load(l).Found, false)
		want(t, "index", len(r.members("alice")), 0)
		want(t, "repeated", r.confirm(l, l.token).Status, store.SessionGone)
	})
}

func TestUnknownSecretOfAKnownSeriesIsReplay(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("")
		want(t, "replay", r.confirm(l, random(43)).Status, store.SessionReplay)
		want(t, "revoked", r.load(l).Found, false)
	})
}

func TestElevation(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("alice", func(c *store.SessionCreate) { c.Level = 1 })
		auth := r.load(l).Authenticated
		r.now += 60_000
		got := r.elevate(l, l.token, "up-1", 2)
		want(t, "status", got.Status, store.SessionOK)
		want(t, "auth", got.Authenticated, time.UnixMilli(r.now))
		up := r.now
		want(t, "repeated after a lost reply", r.elevate(l, l.token, "up-1", 2), got)
		record := r.load(l)
		want(t, "level until the token is presented", record.Level, 1)
		want(t, "authenticated until then", record.Authenticated, auth)
		want(t, "no nonce", record.Tokens().Nonce, 0)
		want(t, "rotation waits", r.rotate(l, l.token, 5, "n").Status, store.SessionNotDue)
		want(t, "the elevated token rotates only once it is current", r.rotate(l, "up-1", 5, "n").Status, store.SessionNotDue)

		// Double click: the first new token becomes current, but is no higher than it
		// was.
		want(t, "second", r.elevate(l, l.token, "up-2", 3).Status, store.SessionOK)
		reply := r.confirm(l, "up-1")
		want(t, "first token", reply.Status, store.SessionOK)
		want(t, "its level", reply.Level, 2)
		reply = r.confirm(l, "up-2")
		want(t, "second token", reply.Status, store.SessionOK)
		want(t, "level", reply.Level, 3)
		want(t, "auth", reply.Authenticated, time.UnixMilli(up))
		want(t, "repeated when current", r.elevate(l, "x", "up-2", 3).Authenticated, time.UnixMilli(up))
		want(t, "the first is previous", r.confirm(l, "up-1").Status, store.SessionPrevious)
		want(t, "the one before is replay", r.elevate(l, l.token, "up-3", 3).Status, store.SessionReplay)
	})
}

func TestElevationConfirmsAFreshRotationAndReplacesAStaleOffer(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("alice")
		r.rotate(l, l.token, 3, "rotated")
		want(t, "elevate", r.elevate(l, l.token, "up", 2).Status, store.SessionOK)
		// A response with the rotated token may be on its way to the browser: it must not
		// look like a replay.
		reply := r.confirm(l, "rotated")
		want(t, "rotated", reply.Status, store.SessionOK)
		want(t, "rotated never elevates", reply.Level, 0)
		want(t, "up", r.confirm(l, "up").Level, 2)

		r.now += 60_000
		r.rotate(l, "up", 4, "lost")
		r.now += 11_000
		want(t, "elevate", r.elevate(l, "up", "up-2", 3).Status, store.SessionOK)
		record := r.load(l)
		want(t, "current", string(record.Tokens().Current), "up")
		want(t, "nonce", record.Tokens().Nonce, 0)
		// An elevation that never arrived gives way to a rotation, without its level.
		r.now += 11_000
		want(t, "rotate", r.rotate(l, "up", 6, "next").Nonce, 6)
		reply = r.confirm(l, "next")
		want(t, "status", reply.Status, store.SessionOK)
		want(t, "level", reply.Level, 2)
	})
}

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
			var ids []string
			for _, info := range r.infos("bob", n) {
				ids = append(ids, info.PublicID)
			}
			slices.Sort(ids)
			if !slices.Equal(ids, all) {
				t.Errorf("in pages of %d: %d sessions, want %d", n, len(ids), len(all))
			}
		}
		for _, cursor := range []string{"x", "1.", "." + random(32), "1e3." + random(32), "-1." + random(32), "1." + random(31)} {
			if _, _, err := r.store.SessionList(t.Context(), r.user("bob"), 0, cursor, 10); err == nil {
				t.Errorf("cursor %q was taken", cursor)
			}
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

func TestPopSetNXCompareAndSet(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("alice", func(c *store.SessionCreate) { c.Values = []store.Field{{Name: "a", Value: "\x00\r\n"}} })
		show := func(v store.SessionValue, err error) string {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			want(t, "now", v.Now, time.UnixMilli(r.now))
			return fmt.Sprintf("%d %v %q", v.Status, v.Found, v.Value)
		}
		ctx := t.Context()
		swap := func(present bool, old, new string) string {
			t.Helper()
			return show(r.store.SessionCompareAndSet(ctx, store.SessionSwap{Keys: l.keys, Name: "b", Present: present, Old: old, New: new}))
		}
		want(t, "pop", show(r.store.SessionPop(ctx, l.keys, 0, "a")), `1 true "\x00\r\n"`)
		want(t, "pop again", show(r.store.SessionPop(ctx, l.keys, 0, "a")), `1 false ""`)
		want(t, "setnx", show(r.store.SessionSetNX(ctx, l.keys, 0, "b", "one")), `1 false ""`)
		want(t, "setnx again", show(r.store.SessionSetNX(ctx, l.keys, 0, "b", "two")), `1 true "one"`)
		want(t, "swap of another value", swap(true, "zero", "three"), `8 true "one"`)
		want(t, "swap of none", swap(false, "", "three"), `8 true "one"`)
		want(t, "swap", swap(true, "one", "three"), `1 true "one"`)
		want(t, "b", value(r.load(l), "b"), "three")
		want(t, "pop", show(r.store.SessionPop(ctx, l.keys, 0, "b")), `1 true "three"`)
		want(t, "swap of a value that is gone", swap(true, "three", "four"), `8 false ""`)
		want(t, "swap of none", swap(false, "", ""), `1 false ""`)
		want(t, "swap of an empty value", swap(true, "", "five"), `1 true ""`)
		r.drop(l, false)
		want(t, "pop of the dead", show(r.store.SessionPop(ctx, l.keys, 0, "b")), `2 false ""`)
		want(t, "setnx of the dead", show(r.store.SessionSetNX(ctx, l.keys, 0, "b", "")), `2 false ""`)
		want(t, "swap of the dead", swap(false, "", ""), `2 false ""`)
	})
}

// Keys are cut out of no one else's names.
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

// A touch may raise the idle time, never past the absolute deadline, and never of a
// session that has ended.
func TestTouchRaisesTheIdleTime(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		short := func(c *store.SessionCreate) { c.Idle, c.Life = 10*time.Minute, 45*time.Minute }
		raise := func(l login, idle time.Duration) store.SessionStatus {
			t.Helper()
			reply, err := r.store.SessionTouch(t.Context(), store.SessionTouch{Keys: r.at(l.keys), Every: time.Minute, Idle: idle})
			if err != nil {
				t.Fatal(err)
			}
			return reply.Status
		}
		late, back, longer := r.login("", short), r.login("", short), r.login("", short)
		r.now += 1_000
		if got := raise(back, 30*time.Minute); got != store.SessionOK {
			t.Errorf("the touch: status %d", got)
		}
		if got := r.load(back); got.Idle != 30*time.Minute || !got.Seen.Equal(time.UnixMilli(r.now)) {
			t.Errorf("got idle %v, seen %v, want 30 min, %d", got.Idle, got.Seen, r.now)
		}
		if ttl := r.pttl(r.recordKey(back)); ttl < 29*time.Minute || ttl > 30*time.Minute {
			t.Errorf("got a TTL of %v, want 30 min", ttl)
		}
		raise(longer, 100*time.Hour)
		if ttl := r.pttl(r.recordKey(longer)); ttl > 45*time.Minute {
			t.Errorf("got a TTL of %v, past the absolute deadline", ttl)
		}
		raise(back, time.Minute)
		if got := r.load(back); got.Idle != 30*time.Minute {
			t.Errorf("a shorter one made it %v", got.Idle)
		}
		r.now += (29 * time.Minute).Milliseconds()
		for l, want := range map[*login]store.SessionStatus{&late: store.SessionGone, &back: store.SessionOK, &longer: store.SessionOK} {
			if got := raise(*l, 30*time.Minute); got != want {
				t.Errorf("after half an hour: status %d, want %d", got, want)
			}
		}
		r.now += (16 * time.Minute).Milliseconds()
		for _, l := range []login{back, longer} {
			if got := raise(l, time.Hour); got != store.SessionGone {
				t.Errorf("past the absolute deadline: status %d, want that it is gone", got)
			}
		}
	})
}
