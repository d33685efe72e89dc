package store_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

var interleavings = flag.Int("interleavings", 0, "interleavings of each pair in TestSessionRaces; 0 means 20, or 5 with -short or -race")

func rounds() int {
	switch {
	case *interleavings > 0:
		return *interleavings
	case testing.Short() || raceDetector:
		return 5
	}
	return 20
}

// The race pack: a request that works on a session against something that ends it. Each
// is a list of scripts, which are atomic; the order in which the two lists run is random,
// either may stop half-way (a process killed), and a script that is safe to repeat may
// run once more later on (a reply lost). Whatever happens,
//
//   - what was ended does not come back,
//   - what nobody ended is alive,
//   - after one list the index holds exactly the living.
var (
	requests = []string{"commit", "touch", "rotate", "confirm", "create"}
	endings  = []string{"drop", "revoke one", "revoke others", "revoke user", "revoke all", "expiry", "eviction"}
)

// subject is one session and what must be true of it.
type subject struct {
	login
	name string
	born bool
	dead bool
}

// world is one interleaving.
type world struct {
	*rig
	name    string // of the user
	request string
	ending  string
	log     []string

	mu    sync.Mutex // guards the fields below, where both sides run at once
	s     subject    // the session at stake
	kept  subject    // another one of the user
	bob   subject    // somebody else's
	n     subject    // the one that request "create" makes
	e     subject    // the one that ending "eviction" makes
	guest login

	began   int64 // when the login was authenticated, unix ms
	epochAt int64 // when an epoch was set, unix ms
	stamp   int64 // the global epoch that the login knows
}

func newWorld(r *rig, request, ending string) *world {
	own := *r
	w := &world{rig: &own, name: random(8), request: request, ending: ending}
	w.tag = random(2)
	long := func(c *store.SessionCreate) { c.Idle = life }
	w.bob = subject{login: w.rig.login("bob"+w.name, long), name: "bob", born: true}
	w.s = subject{login: w.rig.login(w.name), name: "s", born: true}
	w.tick(time.Second)
	w.kept = subject{login: w.rig.login(w.name, long), name: "kept", born: true}
	w.tick(time.Second)
	w.n = subject{login: login{keys: w.rig.create(w.name).Keys, id: random(22), token: random(43)}, name: "n"}
	w.e = subject{name: "e"}
	if request == "create" {
		w.guest = w.rig.login("")
	}
	if request == "confirm" {
		w.rotate(w.s.login, w.s.token, 1, "next")
	}
	return w
}

// tick moves the clock; the server's own moves by itself.
func (w *world) tick(d time.Duration) {
	if w.now != 0 {
		w.now += d.Milliseconds()
	} else {
		time.Sleep(2 * time.Millisecond)
	}
}

func (w *world) subjects() []*subject { return []*subject{&w.s, &w.kept, &w.bob, &w.n, &w.e} }

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf("%s x %s, after %v: %s", w.request, w.ending, w.log, fmt.Sprintf(format, args...))
}

// status checks what a script over s replied. alive are the statuses of a living session.
func (w *world) status(what string, got store.SessionStatus, alive ...store.SessionStatus) {
	w.t.Helper()
	if w.now == 0 {
		return // both sides run at once: only the end tells
	}
	if living := slices.Contains(alive, got); living == w.s.dead {
		w.fail("%s replied %d, session dead: %v", what, got, w.s.dead)
	}
}

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

// run executes both lists in random order.
func (w *world) run() {
	a, b := w.requestSteps(), w.endingSteps()
	if rand.N(8) == 0 {
		a = a[:rand.N(len(a)+1)]
	}
	if rand.N(8) == 0 {
		b = b[:rand.N(len(b)+1)]
	}
	for len(a)+len(b) > 0 {
		var next step
		if len(a) > 0 && rand.N(len(a)+len(b)) < len(a) {
			next, a = a[0], a[1:]
			if next.safe && rand.N(4) == 0 { // its reply is lost: once more, somewhat later
				a = slices.Insert(slices.Clone(a), rand.N(len(a)+1), step{next.name + " again", false, next.do})
			}
		} else {
			next, b = b[0], b[1:]
			if next.safe && rand.N(4) == 0 {
				b = append(slices.Clone(b), step{next.name + " again", false, next.do})
			}
		}
		w.log = append(w.log, next.name)
		next.do()
		w.tick(time.Second)
	}
}

// check compares with what must be true in the end.
func (w *world) check() {
	var ids, members []string
	for _, x := range w.subjects() {
		if x.born && !x.dead && x != &w.bob {
			ids, members = append(ids, x.id), append(members, x.keys.Member)
		}
	}
	slices.Sort(ids)
	slices.Sort(members)
	listed := w.list(w.name)
	slices.Sort(listed)
	if !slices.Equal(listed, ids) {
		w.fail("list has %d sessions, want %d", len(listed), len(ids))
	}
	index := w.members(w.name)
	slices.Sort(index)
	if !slices.Equal(index, members) {
		w.fail("index has %d members, want %d", len(index), len(members))
	}
	for _, x := range w.subjects() {
		if !x.born {
			continue
		}
		if status := w.touch(x.login).Status; (status == store.SessionOK) == x.dead {
			w.fail("touch of %s in the end: %d, dead: %v", x.name, status, x.dead)
		}
		if status := w.commit(x.login, set("late", "1")); (status == store.SessionOK) == x.dead {
			w.fail("commit to %s in the end: %d, dead: %v", x.name, status, x.dead)
		}
		if record := w.load(x.login); record.Found == x.dead {
			w.fail("%s in the end: found %v, dead %v", x.name, record.Found, x.dead)
		}
	}
}

func TestSessionRaces(t *testing.T) {
	n := rounds()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		for _, request := range requests {
			for _, ending := range endings {
				t.Run(request+" x "+ending, func(t *testing.T) {
					t.Parallel()
					r := newRig(t, s, nil)
					for i := range n {
						if r.server.Name() == "embedded" && i%20 == 0 {
							r = newRig(t, redistest.Embedded(t), nil) // it looks at all its keys for each command
						}
						w := newWorld(r, request, ending)
						w.run()
						if w.check(); t.Failed() {
							return
						}
					}
					redistest.NoImmortalKeys(t, r.client, r.prefix)
				})
			}
		}
	})
}

// The same pairs, both sides at once and by the server's clock.
func TestSessionRacesAtOnce(t *testing.T) {
	n := max(rounds()/4, 5)
	if testing.Short() {
		n = 1
	}
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		for _, request := range requests {
			for _, ending := range endings {
				if ending == "expiry" {
					continue // by the server's clock a touch may rightly come first
				}
				t.Run(request+" x "+ending, func(t *testing.T) {
					t.Parallel()
					r := newRig(t, s, nil)
					r.now = 0
					for i := range n {
						if r.server.Name() == "embedded" && i%20 == 0 {
							r = newRig(t, redistest.Embedded(t), nil)
							r.now = 0
						}
						w := newWorld(r, request, ending)
						w.atOnce()
						if w.check(); t.Failed() {
							return
						}
					}
					redistest.NoImmortalKeys(t, r.client, r.prefix)
				})
			}
		}
	})
}

func (w *world) atOnce() {
	// The login is authenticated before anything else happens.
	authenticated := time.Now()
	a, b := w.requestSteps(), w.endingSteps()
	if w.request == "create" {
		a = a[1:]
		w.began, w.stamp = authenticated.UnixMilli(), w.global
	}
	var wg sync.WaitGroup
	for _, side := range [][]step{a, b} {
		wg.Go(func() {
			for _, next := range side {
				next.do()
			}
		})
	}
	wg.Wait()
	if w.ending == "revoke all" {
		global, err := w.store.SessionGlobalEpoch(w.t.Context())
		if err != nil {
			w.fail("global epoch: %v", err)
		}
		w.global = global
		for _, x := range w.subjects() {
			x.dead = x.dead || x.born
		}
	}
	if w.ending == "eviction" && w.request == "create" {
		// At most one of those two knew of the other.
		for _, x := range []*subject{&w.kept, &w.n} {
			x.dead = !w.load(x.login).Found
		}
		if w.n.dead {
			w.fail("the newest was evicted")
		}
	}
}
