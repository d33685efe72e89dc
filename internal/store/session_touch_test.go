package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

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
			t.Run(c.name, func(t *testing.T) {
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
			})
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
