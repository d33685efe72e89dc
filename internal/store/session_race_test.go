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
