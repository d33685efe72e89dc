package limittest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/store"
)

// TB has the methods of a test that a [World] needs. [testing.TB] and [rapid.T] have
// them.
type TB interface {
	Helper()
	Context() context.Context
	Fatalf(format string, args ...any)
}

// World is one key under one policy, with clocks of its own. Each method runs a script
// and compares its reply and the keys in Redis with [Model] and [Ideal]. If they differ,
// it fails the test and prints the story so far.
//
// There are two clocks. The scripts get the server's clock. It steps back and forth, and
// keys expire by it. The true clock never steps back: it is the server's clock without
// the steps back, so that a step forward counts as time that passed. The instants of uses
// are those of the true clock.
type World struct {
	tb     TB
	client redis.UniversalClient
	store  *store.Store
	copies *store.Store // for copies of the keys under another prefix, to try calls on

	limits []store.LimitSpec
	tag    store.Tag
	keys   []string // one a limit, and the last for refunded calls
	twins  []string // the keys of copies
	sticky bool

	clock, real int64      // µs
	back        int64      // the sum of all steps back, µs
	moved       bool       // the clock moved since the last Take
	latest      int64      // the largest reading of the clock
	fell        bool       // the clock was more than a day behind its latest
	lie         int64      // how far the clock of the process is off, µs
	learned     int64      // by how much the process corrects it
	expiry      []int64    // of each key, on the server's clock; 0 for none
	before      [][]string // contents of each key

	model     *Model
	ideal     []*Ideal     // of each limit
	truth     []civilTruth // of each limit that has a calendar
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
	At        int64   // by the true clock; a repeat has that of the admission
	Refunded  bool    // it was refunded or settled, or must not be
	Returned  []int64 // of each limit: the permits that the admission and its repeats gave back
	Lost      bool    // its reply did not arrive, so nobody refunds or settles it
	Forgotten bool    // a reset removed it
	Member    bool    // it was allowed in a batch, whose members share the number and the stamps
	Resets    int     // how many resets there were since
}

// Tally counts the events of a world.
type Tally struct{ Traces, Decisions, Denials, Refunds, Settled, Debts, Repairs, Expiries, Outside int64 }

// forever is the time to live that a World gives each key, ms. It is far more than any
// script sets, so a shorter one was set by a script.
const forever = int64(1e12)

var worlds atomic.Int64

// Stores returns the two stores for worlds that share a prefix.
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
		tb: tb, client: client, limits: limits, clock: clock, real: clock, latest: clock,
		tag: store.MakeTag("world", fmt.Sprint(worlds.Add(1))), model: NewModel(limits), names: map[string]*Decision{},
	}
	var err error
	if w.store, w.copies, err = Stores(client, prefix); err != nil {
		tb.Fatalf("limittest: %v", err)
	}
	name := func(prefix string, l store.LimitSpec) string {
		return fmt.Sprintf("%s:l:{%s}:%s", prefix, w.tag[:], l.Suffix())
	}
	for _, l := range limits {
		w.keys, w.twins = append(w.keys, name(prefix, l)), append(w.twins, name(prefix+".copy", l))
		w.ideal, w.truth = append(w.ideal, &Ideal{}), append(w.truth, civilTruth{})
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
		text = append(text, fmt.Sprintf("%d in %s", l.Quota, l.Suffix()))
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

// Clock returns the server's clock.
func (w *World) Clock() int64 { return w.clock }

// Now returns the true clock.
func (w *World) Now() int64 { return w.real }

// Tally returns the counts so far.
func (w *World) Tally() Tally { return w.count }

// Ideal returns the Ideal of limit i.
func (w *World) Ideal(i int) *Ideal { return w.ideal[i] }

// Limits returns the limits with their present quotas.
func (w *World) Limits() []store.LimitSpec { return slices.Clone(w.limits) }

// Decisions returns the admissions so far, oldest first.
func (w *World) Decisions() []*Decision { return w.decisions }

// Advance lets d pass on both clocks, at least 1. Without it, the next Take reads the
// same microsecond as the last.
func (w *World) Advance(d int64) {
	w.clock, w.real, w.moved = w.clock+d, w.real+d, true
	w.expire()
}

// Step moves the server's clock by d. A step forward counts as time that passes. During a
// step back one microsecond of true time passes.
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

// expire removes the keys that have expired by the server's clock.
func (w *World) expire() {
	w.latest = max(w.latest, w.clock)
	w.fell = w.fell || w.clock < w.latest-day
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

// look reads the keys after a script. It checks that each has a time to live and the
// contents that the model predicts. It returns for each key whether the script set its
// time to live.
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
			held[i] = pipe.Get(ctx, key)
		case w.limits[i].Algorithm == 'k':
			held[i] = pipe.HGetAll(ctx, key)
		default:
			held[i] = pipe.LRange(ctx, key, 0, -1)
		}
		pipe.Do(ctx, "PEXPIRE", key, forever)
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
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
			// The read came after the script, so the time to live may be a little shorter
			// than what the script set. The script adds a whole second.
			set[i], w.expiry[i] = true, w.clock+ttl.Microseconds()
			w.checkSetExpiry(i, ttl)
		}
		w.checkExpiry(i)
	}
	return set
}

// modelled returns the elements that key i should have.
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

// contents returns the elements of a key, one line each, sorted.
func contents(cmd redis.Cmder) (text []string) {
	switch cmd := cmd.(type) {
	case *redis.StringSliceCmd:
		text = slices.Clone(cmd.Val())
	case *redis.StringCmd:
		text = bucketsText(cmd.Val())
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

// Add returns the sum of two tallies.
func (a Tally) Add(b Tally) Tally {
	return Tally{a.Traces + b.Traces, a.Decisions + b.Decisions, a.Denials + b.Denials, a.Refunds + b.Refunds, a.Settled + b.Settled, a.Debts + b.Debts,
		a.Repairs + b.Repairs, a.Expiries + b.Expiries, a.Outside + b.Outside}
}
