package store_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// proxied is a rig whose client goes through a proxy, its scripts known to the server.
func proxied(t *testing.T) (*rig, *redistest.Proxy) {
	t.Helper()
	s := redistest.Single(t)
	proxy := redistest.NewProxy(t, s.Addrs()[0])
	r := newRig(t, s, redistest.NewClient(t, proxy.Addr()))
	l := r.login("warm")
	r.login("")
	r.login("warm", carrying("warm"))
	r.touch(l)
	r.commit(l)
	r.rotate(l, l.token, 1, "n")
	r.confirm(l, "n")
	r.elevate(l, "n", "u", 1)
	r.list("warm")
	_, _ = r.store.SessionPop(t.Context(), l.keys, 0, "x")
	_, _ = r.store.SessionSetNX(t.Context(), l.keys, 0, "x", "")
	_, _ = r.store.SessionCompareAndSet(t.Context(), store.SessionSwap{Keys: l.keys, Name: "x"})
	_, _ = r.store.SessionRevoke(t.Context(), r.user("warm"), "none")
	epoch, _ := r.epoch("warm", nil)
	r.revokePages("warm", epoch, "")
	r.drop(l, true)
	return r, proxy
}

func TestLostReplyOfACommitIsSettledByItsNonce(t *testing.T) {
	t.Parallel()
	r, proxy := proxied(t)
	l := r.login("alice")
	proxy.DropReply(1)
	want(t, "commit", r.commit(l, add("n", 1), set("a", "1")), store.SessionOK)
	want(t, "n", value(r.load(l), "n"), "1")

	// The reply to the look for the nonce is lost as well. The look is repeated, the
	// commit is not.
	got := proxy.During(func() {
		proxy.DropReply(1, "evalsha")
		proxy.SwallowRequest(1, "hget")
		want(t, "commit", r.commit(l, add("n", 1)), store.SessionOK)
	})
	want(t, "scripts sent", got.Commands.Of("evalsha", "eval"), 1)
	want(t, "n", value(r.load(l), "n"), "2")
}

func TestCommitThatNeverArrivedIsUnknownAndNotRepeated(t *testing.T) {
	t.Parallel()
	r, proxy := proxied(t)
	l := r.login("alice")
	proxy.SwallowRequest(1)
	got := proxy.During(func() {
		_, err := r.store.SessionCommit(t.Context(), store.SessionCommit{Keys: l.keys, Nonce: "n", Add: []store.Delta{{Name: "n", Add: 1}}})
		if !errors.Is(err, store.ErrUnknownOutcome) || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("error = %v, want ErrUnknownOutcome", err)
		}
	})
	want(t, "scripts sent", got.Commands.Of("evalsha", "eval"), 1)
	want(t, "n", value(r.load(l), "n"), "(none)")
}

func TestLostReplyOfAPopLosesTheValueAtMostOnce(t *testing.T) {
	t.Parallel()
	r, proxy := proxied(t)
	l := r.login("alice", func(c *store.SessionCreate) { c.Values = []store.Field{{Name: "a", Value: "1"}} })
	proxy.DropReply(1)
	_, err := r.store.SessionPop(t.Context(), l.keys, 0, "a")
	if !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("pop: %v, want ErrUnknownOutcome", err)
	}
	want(t, "a", value(r.load(l), "a"), "(none)")
	for name, f := range map[string]func() error{
		"setnx": func() error { _, err := r.store.SessionSetNX(t.Context(), l.keys, 0, "b", "1"); return err },
		"swap": func() error {
			_, err := r.store.SessionCompareAndSet(t.Context(), store.SessionSwap{Keys: l.keys, Name: "c", New: "1"})
			return err
		},
	} {
		proxy.DropReply(1)
		if err := f(); !errors.Is(err, store.ErrUnknownOutcome) {
			t.Errorf("%s: %v, want ErrUnknownOutcome", name, err)
		}
	}
}

func TestLostRepliesOfSafeScriptsAreAskedForAgain(t *testing.T) {
	t.Parallel()
	r, proxy := proxied(t)
	lose := func() { proxy.DropReply(1) }
	r.login("alice") // the oldest
	lose()
	l := r.login("alice", func(c *store.SessionCreate) { c.Cap = 1 })
	want(t, "sessions after a repeated login", len(r.list("alice")), 1)
	lose()
	want(t, "a repeated guest", r.load(r.login("")).Found, true)
	for _, user := range []string{"carl", ""} {
		lose()
		want(t, "carried over, repeated", r.load(r.login(user, carrying("old"+user))).Found, true)
	}
	want(t, "sessions after a repeated carrying over", len(r.list("carl")), 1)
	r.now += 60_000
	lose()
	want(t, "touch", r.touch(l).Seen, time.UnixMilli(r.now))
	lose()
	want(t, "rotate", r.rotate(l, l.token, 5, "n5").Nonce, 5)
	lose()
	want(t, "confirm", r.confirm(l, "n5").Status, store.SessionOK)
	lose()
	want(t, "elevate", r.elevate(l, "n5", "up", 2).Status, store.SessionOK)
	want(t, "up", r.confirm(l, "up").Level, 2)
	lose()
	want(t, "list", len(r.list("alice")), 1)
	proxy.DropReply(1, "hgetall")
	want(t, "load", r.load(l).Found, true)
	proxy.DropReply(1, "hget")
	_, err := r.store.SessionNonce(t.Context(), l.keys)
	want(t, "nonce", err, nil)
	proxy.DropReply(1, "get")
	_, err = r.store.SessionGlobalEpoch(t.Context())
	want(t, "global epoch", err, nil)
	lose()
	epoch, status := r.epoch("alice", &l.keys)
	want(t, "epoch", status, store.SessionOK)
	want(t, "kept", r.touch(l).Status, store.SessionOK)
	r.now++
	r.login("alice")
	lose()
	want(t, "page", r.revokePages("alice", epoch+1, ""), 0) // what the first run removed is not counted
	lose()
	want(t, "drop", r.drop(l, true), store.SessionGone)
	want(t, "dropped", r.load(l).Superseded, true)
}

// A load balancer in front of a cluster, or a slot that moved: the raw reply is an error
// that only a parsed command follows.
func TestLoadFollowsRedirects(t *testing.T) {
	t.Parallel()
	s := redistest.Cluster(t)
	r := newRig(t, s, nil)
	// A client whose map says that one master has all slots.
	addr := s.Master(t, "a").Addr()
	wrong := redis.NewClusterClient(&redis.ClusterOptions{
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
			return []redis.ClusterSlot{{Start: 0, End: 16383, Nodes: []redis.ClusterNode{{Addr: addr}}}}, nil
		},
	})
	defer wrong.Close()
	kv, err := store.New(wrong, store.Options{Prefix: r.prefix, Budget: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // over all masters
		r.tag = random(2)
		l := r.login("alice", func(c *store.SessionCreate) { c.Values = []store.Field{{Name: "a", Value: "1"}} })
		record, err := kv.SessionLoad(t.Context(), l.keys)
		if err != nil || !record.Found || value(record, "a") != "1" {
			t.Errorf("load by way of another node: found %v, %v", record.Found, err)
		}
		reply, err := kv.SessionTouch(t.Context(), store.SessionTouch{Keys: l.keys})
		if err != nil || reply.Status != store.SessionOK {
			t.Errorf("touch by way of another node: %+v, %v", reply, err)
		}
	}
}

func TestLoadOfAnotherTypeIsNoMiss(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := login{keys: r.create("alice").Keys}
		r.client.Set(t.Context(), r.recordKey(l), "x", time.Minute)
		if record, err := r.store.SessionLoad(t.Context(), l.keys); !errors.Is(err, store.ErrUnavailable) || record.Found {
			t.Errorf("load of a string: found %v, %v", record.Found, err)
		}
	})
}

func TestSessionsSurviveScriptFlush(t *testing.T) {
	t.Parallel()
	s := redistest.NewSingle(t)
	r := newRig(t, s, nil)
	admin := s.Client(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				admin.ScriptFlush(context.WithoutCancel(t.Context()))
			}
		}
	})
	for i := range 300 {
		l := r.login("alice", func(c *store.SessionCreate) { c.Cap = 3 })
		want(t, "commit", r.commit(l, add("n", 1)), store.SessionOK)
		want(t, "touch", r.touch(l).Status, store.SessionOK)
		r.login("")
		r.login("carl", carrying(random(9)))
		if n := len(r.list("alice")); n != min(i+1, 3) {
			t.Fatalf("login %d: %d sessions", i, n)
		}
	}
	close(stop)
	wg.Wait()
}

// dump returns all keys under the prefix with their contents.
func (r *rig) dump() map[string]string {
	all := map[string]string{}
	for _, key := range redistest.Keys(r.t, r.client, r.prefix) {
		all[key] = r.client.Dump(context.Background(), key).Val()
	}
	return all
}

func TestFullMemory(t *testing.T) {
	t.Parallel()
	s := redistest.NewSingle(t, "--maxmemory-policy", "noeviction")
	r := newRig(t, s, nil)
	old, other, third, fourth := r.login("alice"), r.login("alice"), r.login("alice"), r.login("alice")
	guest := r.login("")
	r.rotate(old, old.token, 1, "next")
	full := func(on bool) {
		t.Helper()
		limit := map[bool]string{true: "1", false: "0"}[on]
		if err := r.client.ConfigSet(t.Context(), "maxmemory", limit).Err(); err != nil {
			t.Fatal(err)
		}
	}
	full(true)
	defer full(false)

	before := r.dump()
	unchanged := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome) {
			t.Errorf("%s: %v, want ErrUnavailable", what, err)
		}
		if after := r.dump(); !maps.Equal(before, after) {
			t.Errorf("%s that was refused changed something: %d keys, then %d", what, len(before), len(after))
		}
	}
	c := r.create("alice")
	c.Cap, c.Replace = 1, other.keys.Member
	_, err := r.store.SessionCreate(t.Context(), c)
	unchanged("login at the cap", err)
	_, err = r.store.SessionCreate(t.Context(), r.create(""))
	unchanged("guest", err)
	for _, user := range []string{"alice", ""} {
		c = r.create(user)
		carrying("old")(&c)
		_, err = r.store.SessionCreate(t.Context(), c)
		unchanged("carry", err)
	}
	_, err = r.store.SessionCommit(t.Context(), store.SessionCommit{Keys: old.keys, Nonce: "n", Set: []store.Field{{Name: "a", Value: "1"}}})
	unchanged("commit", err)
	_, err = r.store.SessionRotate(t.Context(), store.SessionRotate{Keys: other.keys, TokenHash: other.token, Nonce: 1, NextHash: "n"})
	unchanged("rotate", err)
	_, err = r.store.SessionElevate(t.Context(), store.SessionElevate{Keys: other.keys, TokenHash: other.token, NextHash: "n"})
	unchanged("elevate", err)
	_, err = r.store.SessionSetNX(t.Context(), other.keys, 0, "a", "1")
	unchanged("setnx", err)

	// Scripts that end or prolong a session work, and so do those on which a browser that
	// holds the successor depends.
	want(t, "load", r.load(old).Found, true)
	r.now += 60_000
	want(t, "touch", r.touch(old).Seen, time.UnixMilli(r.now))
	want(t, "confirm", r.confirm(old, "next").Status, store.SessionOK)
	want(t, "list", len(r.list("alice")), 4)
	want(t, "logout", r.drop(other, true), store.SessionOK)
	want(t, "marker", r.load(other).Superseded, true)
	want(t, "drop of the guest", r.drop(guest, true), store.SessionOK)
	want(t, "drop of nothing", r.drop(login{keys: r.create("").Keys}, true), store.SessionGone)
	found, err := r.store.SessionRevoke(t.Context(), r.user("alice"), third.id)
	want(t, "revoke one", found, true)
	want(t, "error", err, nil)
	_, status := r.epoch("alice", &old.keys)
	want(t, "revoke others", status, store.SessionOK)
	want(t, "removed", r.load(fourth).Found, false)
	want(t, "fourth", r.touch(fourth).Status, store.SessionGone)
	if _, err := r.store.SessionRevokeAll(t.Context(), life); err != nil {
		t.Errorf("revoke all: %v", err)
	}
	r.now -= time.Hour.Milliseconds()
	want(t, "touch after the clock stepped back", r.touch(old).Seen, time.UnixMilli(r.now))
	redistest.NoImmortalKeys(t, r.client, r.prefix)
}

// Without permission to publish a script must do all its work, and say so.
func TestNoPermissionToPublish(t *testing.T) {
	t.Parallel()
	s := redistest.NewSingle(t)
	for name, rules := range map[string][]string{
		"no channel":    {"on", "nopass", "~*", "+@all", "resetchannels"},
		"no command":    {"on", "nopass", "~*", "+@all", "-publish"},
		"nothing of it": {"on", "nopass", "~*", "+@all", "resetchannels", "-publish"},
	} {
		t.Run(name, func(t *testing.T) {
			user := "u" + strings.ReplaceAll(name, " ", "")
			args := []any{"ACL", "SETUSER", user}
			for _, rule := range rules {
				args = append(args, rule)
			}
			if err := s.Client(t).Do(t.Context(), args...).Err(); err != nil {
				t.Fatal(err)
			}
			r := newRig(t, s, s.Client(t, func(o *redis.UniversalOptions) { o.Username, o.Password = user, "x" }))
			if err := r.client.Publish(t.Context(), r.prefix+":ev", "").Err(); err == nil {
				t.Fatal("the user may publish")
			}
			a := r.login("alice")
			r.now++
			b := r.login("alice", func(c *store.SessionCreate) { c.Cap = 1 })
			want(t, "evicted", r.load(a).Found, false)
			c := r.login("alice", func(c *store.SessionCreate) { c.Replace = b.keys.Member })
			want(t, "guest", r.load(r.login("")).Found, true)
			for _, user := range []string{"carl", ""} {
				want(t, "carried over", r.load(r.login(user, carrying("old"+user))).Found, true)
			}
			r.rotate(c, c.token, 1, "n")
			want(t, "confirm", r.confirm(c, "n").Status, store.SessionOK)
			r.rotate(c, "n", 1, "n2")
			want(t, "elevate", r.elevate(c, "n", "n3", 2).Status, store.SessionOK)
			_, status := r.epoch("alice", &c.keys)
			want(t, "epoch", status, store.SessionOK)
			found, err := r.store.SessionRevoke(t.Context(), r.user("alice"), c.id)
			if !found || err != nil {
				t.Errorf("revoke: %v, %v", found, err)
			}
			r.now++
			d, e := r.login("alice"), r.login("alice")
			want(t, "replay", r.confirm(d, "forged").Status, store.SessionReplay)
			want(t, "drop", r.drop(e, true), store.SessionOK)
			if _, err := r.store.SessionRevokeAll(t.Context(), life); err != nil {
				t.Errorf("revoke all: %v", err)
			}
			want(t, "list", len(r.list("alice")), 0)
		})
	}
}
