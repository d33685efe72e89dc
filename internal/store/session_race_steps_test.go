package store_test

import (
	"math/rand/v2"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// step is one script of either side.
type step struct {
	name string
	safe bool // to repeat
	do   func()
}

func (w *world) requestSteps() []step {
	s := w.s.login
	load := step{"load", true, func() {
		if record := w.load(s); w.now != 0 && !record.Found && !w.s.dead {
			w.fail("session lost")
		}
	}}
	commit := step{"commit", true, func() { w.status("commit", w.commit(s, set("x", "1"), add("n", 1)), store.SessionOK) }}
	confirm := step{"confirm", true, func() {
		w.status("confirm", w.confirm(s, "next").Status, store.SessionOK, store.SessionPrevious)
	}}
	switch w.request {
	case "commit":
		return []step{load, commit}
	case "touch":
		return []step{load, {"touch", true, func() {
			reply, err := w.store.SessionTouch(w.t.Context(), store.SessionTouch{Keys: w.at(s.keys), GlobalEpoch: w.global})
			if err != nil {
				w.fail("touch: %v", err)
			}
			w.status("touch", reply.Status, store.SessionOK)
		}}}
	case "rotate":
		return []step{load, {"rotate", true, func() {
			w.status("rotate", w.rotate(s, s.token, 1, "next").Status, store.SessionOK, store.SessionPrevious)
		}}, confirm}
	case "confirm":
		return []step{load, confirm, commit}
	case "create":
		return []step{
			{"begin", false, func() { w.began, w.stamp = w.now, w.global }},
			{"create", true, w.createN},
			{"drop guest", true, func() { w.drop(w.guest, true) }},
		}
	}
	panic(w.request)
}

func (w *world) createN() {
	c := w.rig.create(w.name)
	c.Keys, c.PublicID, c.TokenHash, c.GlobalEpoch = w.at(w.n.keys), w.n.id, w.n.token, w.stamp
	if w.now != 0 {
		c.Authenticated = time.Now().Add(-time.Duration(w.now-w.began) * time.Millisecond)
	} else {
		c.Authenticated = time.UnixMilli(w.began)
	}
	reply, err := w.store.SessionCreate(w.t.Context(), c)
	if err != nil {
		w.fail("create: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	stale := w.epochAt > w.began
	if w.now != 0 && !w.n.dead && (reply.Status == store.SessionOK) == stale {
		w.fail("create replied %d, authenticated before the epoch: %v", reply.Status, stale)
	}
	w.n.born = true
	w.n.dead = w.n.dead || reply.Status != store.SessionOK || w.stamp < w.global
}

func (w *world) endingSteps() []step {
	ctx := w.t.Context()
	var epoch int64
	page := step{"page", true, func() {
		if epoch == 0 {
			return
		}
		w.revokePages(w.name, epoch, "")
	}}
	revoke := func(keep *subject) step {
		return step{"epoch", false, func() {
			w.mu.Lock()
			w.epochAt = w.now
			for _, x := range []*subject{&w.s, &w.kept, &w.n} {
				x.dead = x.dead || x != keep && (x.born || w.now == 0)
			}
			w.mu.Unlock()
			var keys *store.SessionKeys
			if keep != nil {
				keys = &keep.keys
			}
			var status store.SessionStatus
			if epoch, status = w.epoch(w.name, keys); status != store.SessionOK {
				w.fail("epoch replied %d", status)
			}
		}}
	}
	switch w.ending {
	case "drop":
		return []step{{"drop", true, func() { w.drop(w.s.login, rand.N(2) == 0); w.s.dead = true }}}
	case "revoke one":
		return []step{{"revoke", true, func() {
			target := &w.s
			if w.request == "create" {
				target = &w.n
			}
			found, err := w.store.SessionRevoke(ctx, w.user(w.name), target.id)
			if err != nil {
				w.fail("revoke: %v", err)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.now != 0 && found != (target.born && !target.dead) {
				w.fail("revoke found it: %v", found)
			}
			target.dead = target.dead || found
		}}}
	case "revoke others":
		return []step{revoke(&w.kept), page}
	case "revoke user":
		return []step{revoke(nil), page}
	case "revoke all":
		return []step{{"revoke all", false, func() {
			global, err := w.store.SessionRevokeAll(ctx, life)
			if err != nil {
				w.fail("revoke all: %v", err)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.now == 0 {
				return // told to the others when both sides are done
			}
			w.global = global
			for _, x := range w.subjects() {
				x.dead = x.dead || x.born
			}
		}}}
	case "expiry":
		return []step{{"expire", false, func() {
			w.tick(idle)
			w.s.dead, w.n.dead = true, w.n.born
		}}}
	case "eviction":
		return []step{{"evict", false, func() {
			limit := 2
			w.mu.Lock()
			if w.n.born {
				limit = 3
			}
			w.mu.Unlock()
			w.e.login = w.rig.login(w.name, func(c *store.SessionCreate) { c.Cap = limit })
			w.e.born, w.s.dead = true, true
		}}}
	}
	panic(w.ending)
}
