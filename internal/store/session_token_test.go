package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

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
