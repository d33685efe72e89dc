package limittest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/store"
)

// TB is what a [World] needs of a test; [testing.TB] and [rapid.T] have it.
type TB interface {
	Helper()
	Context() context.Context
	Fatalf(format string, args ...any)
}

// World is one key under one policy, in a time of its own. Each method asks the scripts,
// holds what they reply and what they leave in Redis against [Model] and [Ideal], and
// fails the test with the story so far where they differ.
//
// There are two clocks. The server's clock is what the scripts are told. It is stepped
// back and forth; time to live is simulated on it. The true clock never steps back: it is
// the server's clock less all steps back, so that a step forward counts as time that
// passed. Uses are dated by the true clock.
type World struct {
	tb     TB
	client redis.UniversalClient
	store  *store.Store
	copies *store.Store // the same tag under another prefix: copies to try things on

	limits []store.LimitSpec
	tag    store.Tag
	keys   []string // one a limit, and the last for refunded calls
	twins  []string // the keys of copies
	sticky bool

	clock, real int64      // µs
	back        int64      // the sum of all steps back, µs
	moved       bool       // the clock did since the last Take
	expiry      []int64    // of each key, on the server's clock; 0 for none
	before      [][]string // contents of each key

	model     *Model
	ideal     []*Ideal // of each limit
	decisions []*Decision
	names     map[string]*Decision // the last admission of each name

	story []string
	count Tally
}

// Decision is an admission that may be refunded.
type Decision struct {
	Number    int
	Call      store.LimitCall
	Stamps    []int64
	At        int64  // true clock; of a repeat, that of the admission
	Refunded  bool   // or it must not be
	Returned  []bool // by a refund of the admission or of a repeat, for each limit
	Forgotten bool   // by a reset
	Resets    int    // since
}

// Tally counts what a world has seen.
type Tally struct{ Traces, Decisions, Denials, Refunds, Repairs, Expiries int64 }

// forever is the time to live that a World gives each key, to tell what the script sets:
// far more than any script does, ms.
const forever = int64(1e12)

var worlds atomic.Int64

// Stores makes the two stores of worlds that share a prefix.
func Stores(client redis.UniversalClient, prefix string) (kv, copies *store.Store, err error) {
	if kv, err = store.New(client, store.Options{Prefix: prefix, Budget: 10 * time.Second}); err != nil {
		return nil, nil, err
	}
	copies, err = store.New(client, store.Options{Prefix: prefix + ".copy", Budget: 10 * time.Second})
	return kv, copies, err
}

// NewWorld returns a world with no permit spent, at an instant of the server's clock.
func NewWorld(tb TB, client redis.UniversalClient, prefix string, clock int64, limits ...store.LimitSpec) *World {
	tb.Helper()
	w := &World{
		tb: tb, client: client, limits: limits, clock: clock, real: clock,
		tag: store.MakeTag("world", fmt.Sprint(worlds.Add(1))), model: NewModel(limits), names: map[string]*Decision{},
	}
	var err error
	if w.store, w.copies, err = Stores(client, prefix); err != nil {
		tb.Fatalf("limittest: %v", err)
	}
	name := func(prefix string, l store.LimitSpec) string {
		return fmt.Sprintf("%s:l:{%s}:%s:%c%d", prefix, w.tag[:], l.Name, l.Algorithm, l.Window.Microseconds())
	}
	for _, l := range limits {
		w.keys, w.twins = append(w.keys, name(prefix, l)), append(w.twins, name(prefix+".copy", l))
		w.ideal = append(w.ideal, &Ideal{})
		w.sticky = w.sticky || l.Algorithm == 'l'
	}
	w.keys = append(w.keys, fmt.Sprintf("%s:r:{%s}:", prefix, w.tag[:]))
	w.twins = append(w.twins, fmt.Sprintf("%s.copy:r:{%s}:", prefix, w.tag[:]))
	w.expiry, w.before = make([]int64, len(w.keys)), make([][]string, len(w.keys))
	w.tell("limits %v, clock %d", w.describe(), clock)
	return w
}

func (w *World) describe() (text []string) {
	for _, l := range w.limits {
		text = append(text, fmt.Sprintf("%c %d in %v", l.Algorithm, l.Quota, l.Window))
	}
	return text
}

func (w *World) tell(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%12d  ", w.clock)+fmt.Sprintf(format, args...))
}

func (w *World) fail(format string, args ...any) {
	w.tb.Helper()
	const last = 60
	story := w.story
	if len(story) > last {
		story = append([]string{story[0], "..."}, story[len(story)-last:]...)
	}
	w.tb.Fatalf("%s\nclock %d, true clock %d\n%s", fmt.Sprintf(format, args...), w.clock, w.real, strings.Join(story, "\n"))
}

// Clock is the server's clock, and Now the true one.
func (w *World) Clock() int64 { return w.clock }

// Now is the true clock.
func (w *World) Now() int64 { return w.real }

// Tally is what happened so far.
func (w *World) Tally() Tally { return w.count }

// Ideal is the truth about limit i.
func (w *World) Ideal(i int) *Ideal { return w.ideal[i] }

// Limits are the limits with their present quotas.
func (w *World) Limits() []store.LimitSpec { return slices.Clone(w.limits) }

// Decisions are the admissions so far, oldest first.
func (w *World) Decisions() []*Decision { return w.decisions }

// Advance lets d pass on both clocks, at least 1. Without it, the next Take reads the
// microsecond of the last.
func (w *World) Advance(d int64) {
	w.clock, w.real, w.moved = w.clock+d, w.real+d, true
	w.expire()
}

// Step moves the server's clock. Forwards it counts as time; backwards, one microsecond
// truly passes.
func (w *World) Step(d int64) {
	w.tell("clock steps by %v", time.Duration(d)*time.Microsecond)
	w.clock, w.moved = w.clock+d, true
	if d < 0 {
		w.real++
		w.back += 1 - d
	} else {
		w.real += d
	}
	w.expire()
}

// SetQuota changes the quota of limit i.
func (w *World) SetQuota(i int, quota int64) {
	w.tell("quota of limit %d: %d to %d", i, w.limits[i].Quota, quota)
	w.limits[i].Quota = quota
}

// expire removes the keys whose time has come on the server's clock.
func (w *World) expire() {
	for i, at := range w.expiry {
		if at == 0 || w.clock < at {
			continue
		}
		w.count.Expiries++
		w.tell("key %d expires", i)
		w.expiry[i], w.before[i] = 0, nil
		if i < len(w.limits) {
			w.model.limits[i].forget()
		} else {
			clear(w.model.refunded)
		}
		if err := w.client.Del(w.tb.Context(), w.keys[i]).Err(); err != nil {
			w.fail("DEL: %v", err)
		}
	}
}

// look reads the keys after a script. It returns which of them were given a time to live,
// and checks that all have one and hold what the model says.
func (w *World) look() (set []bool) {
	w.tb.Helper()
	ctx := w.tb.Context()
	pipe := w.client.Pipeline()
	ttls, held := make([]*redis.DurationCmd, len(w.keys)), make([]redis.Cmder, len(w.keys))
	for i, key := range w.keys {
		ttls[i] = pipe.PTTL(ctx, key)
		switch {
		case i == len(w.limits) || w.limits[i].Algorithm == 'l':
			held[i] = pipe.ZRangeWithScores(ctx, key, 0, -1)
		case w.limits[i].Algorithm == 'b':
			held[i] = pipe.HGetAll(ctx, key)
		default:
			held[i] = pipe.LRange(ctx, key, 0, -1)
		}
		pipe.Do(ctx, "PEXPIRE", key, forever)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		w.fail("look: %v", err)
	}
	set = make([]bool, len(w.keys))
	for i := range w.keys {
		got := contents(held[i])
		want := w.modelled(i)
		if !slices.Equal(got, want) {
			w.fail("key %d holds %v, want %v", i, got, want)
		}
		w.before[i] = got
		switch ttl := ttls[i].Val(); {
		case ttl == -1:
			w.fail("key %d has no time to live", i)
		case ttl == -2:
			w.expiry[i] = 0
		case ttl.Milliseconds() <= forever/2:
			// The read came after the script: a little may be gone, which a whole second
			// of slack makes up for.
			set[i], w.expiry[i] = true, w.clock+ttl.Microseconds()
			w.checkSetExpiry(i, ttl)
		}
		w.checkExpiry(i)
	}
	return set
}

// modelled is what key i should hold.
func (w *World) modelled(i int) []string {
	if i < len(w.limits) {
		return w.model.Contents(i)
	}
	var text []string
	for name, stamp := range w.model.refunded {
		text = append(text, fmt.Sprintf("%s=%d", name, stamp))
	}
	slices.Sort(text)
	return text
}

// contents is what a key holds, one line an element, sorted.
func contents(cmd redis.Cmder) (text []string) {
	switch cmd := cmd.(type) {
	case *redis.StringSliceCmd:
		text = slices.Clone(cmd.Val())
	case *redis.MapStringStringCmd:
		for field, value := range cmd.Val() {
			text = append(text, field+"="+value)
		}
	case *redis.ZSliceCmd:
		for _, z := range cmd.Val() {
			text = append(text, fmt.Sprintf("%v=%.0f", z.Member, z.Score))
		}
	}
	slices.Sort(text)
	return text
}

// Add sums two tallies.
func (a Tally) Add(b Tally) Tally {
	return Tally{a.Traces + b.Traces, a.Decisions + b.Decisions, a.Denials + b.Denials, a.Refunds + b.Refunds, a.Repairs + b.Repairs, a.Expiries + b.Expiries}
}
