package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// doorman is a hook of a client. It stops each script before it is sent, and the test
// says what happens to it. A script that is sent again with its text passes.
type doorman struct {
	stopped chan stop
	during  func() // what a test does while a call is under way
}

type stop struct {
	calls int // of a batch; 1 for a single call
	then  chan func()
}

func (d *doorman) DialHook(next redis.DialHook) redis.DialHook { return next }

func (d *doorman) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (d *doorman) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); cmd.Name() == "evalsha" && d.stopped != nil {
			keys := args[2].(int)
			calls, _ := args[4+keys].(int64) // behind the instant
			s := stop{int(calls), make(chan func())}
			d.stopped <- s
			(<-s.then)()
		}
		return next(ctx, cmd)
	}
}

// pass lets the next script pass, which must have so many calls.
func (r *mergeRig) pass(calls int) { r.t.Helper(); r.stopped(calls).then <- func() {} }

// stopped returns the next script, which must have so many calls.
func (r *mergeRig) stopped(calls int) stop {
	r.t.Helper()
	s := <-r.door.stopped
	if s.calls != calls {
		r.t.Errorf("a script of %d calls is sent, want %d", s.calls, calls)
	}
	return s
}

// mergeRig is a store with a doorman.
type mergeRig struct {
	t      *testing.T
	server *redistest.Server
	client redis.UniversalClient
	door   *doorman
	kv     *store.Store
	free   *store.Store // on the same keys, past the doorman
	tag    store.Tag
	set    *store.LimitSet
}

func newMergeRig(t *testing.T, server *redistest.Server, budget time.Duration, modify ...func(*redis.UniversalOptions)) *mergeRig {
	t.Helper()
	prefix := redistest.Prefix(t)
	client := server.Client(t, modify...)
	kv, err := store.New(client, store.Options{Prefix: prefix, Budget: budget, NoAutoPipeline: true})
	if err != nil {
		t.Fatal(err)
	}
	r := &mergeRig{t: t, server: server, client: client, kv: kv, free: newStore(t, server.Client(t), prefix), tag: store.MakeTag(t.Name()), set: windowSet}
	r.door = &doorman{stopped: make(chan stop)}
	client.AddHook(r.door)
	t.Cleanup(func() {
		if !within(func() bool { return kv.Flights() == 0 }) {
			t.Errorf("%d keys still have a call under way", kv.Flights())
		}
	})
	return r
}

// within calls f until it returns true, for 20 s.
func within(f func() bool) bool {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if f() {
			return true
		}
	}
	return false
}

// mergeAnswer is the result of a call.
type mergeAnswer struct {
	reply    store.LimitReply
	merged   bool
	err      error
	panicked any
}

// take starts a call.
func (r *mergeRig) take(ctx context.Context) chan mergeAnswer {
	got := make(chan mergeAnswer, 1)
	go func() {
		var a mergeAnswer
		defer func() {
			a.panicked = recover()
			got <- a
		}()
		a.reply, a.merged, a.err = r.kv.LimitTakeMerged(ctx, store.LimitCall{Set: r.set, Tag: r.tag, Cost: 1}, nil)
	}()
	return got
}

// lead starts a call that goes alone, and returns it when the doorman has stopped it.
func (r *mergeRig) lead() (chan mergeAnswer, stop) {
	r.t.Helper()
	got := r.take(context.Background())
	return got, r.stopped(1)
}

// join starts a call, and returns when it waits behind others.
func (r *mergeRig) join(ctx context.Context) chan mergeAnswer {
	r.t.Helper()
	before := r.kv.Queued(r.set, r.tag)
	got := r.take(ctx)
	if !within(func() bool { return r.kv.Queued(r.set, r.tag) > before || len(got) > 0 }) {
		r.t.Fatal("a call does not join")
	}
	return got
}

// expect waits for the answer and checks its kind; see the function is.
func (r *mergeRig) expect(what string, got chan mergeAnswer, want string) mergeAnswer {
	r.t.Helper()
	a := <-got
	kind := is(a.err)
	if errors.Is(a.err, context.Canceled) && !errors.Is(a.err, store.ErrUnavailable) {
		kind = "canceled"
	}
	if errors.Is(a.err, store.ErrUnknownOutcome) && kind != "unknown" {
		kind += ", unknown"
	}
	if kind != want {
		r.t.Errorf("%s: %s (%v), want %s", what, kind, a.err, want)
	}
	if a.panicked != nil {
		r.t.Errorf("%s: panic: %v", what, a.panicked)
	}
	return a
}

// expectSpent checks how many permits the key's calls spent.
func (r *mergeRig) expectSpent(want int64) {
	r.t.Helper()
	if got := spent(r.t, r.free, r.set, r.tag)[0]; got != want {
		r.t.Errorf("%d permits spent, want %d", got, want)
	}
}

var pass = func() {}

// TestMergedCalls: the first call goes alone; those that come before its reply go in one
// script, and are decided in the order in which they came.
func TestMergedCalls(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		for _, limits := range [][]store.LimitSpec{specsOf("w", 4), specsOf("b", 4), specsOf("wb", 4), specsOf("bw", 4)} {
			r := newMergeRig(t, server, patient)
			r.set = store.NewLimitSet(limits...)
			r.tag = store.MakeTag(t.Name(), fmt.Sprint(limits))
			first, held := r.lead()
			var joined []chan mergeAnswer
			for range 5 {
				joined = append(joined, r.join(t.Context()))
			}
			held.then <- pass
			r.pass(5)
			if a := r.expect("the first", first, "done"); a.merged || a.reply.Remaining(0) != 3 {
				t.Errorf("the first: %+v, want not merged, 3 remain", a)
			}
			stamps := map[int64]int{}
			for i, got := range joined {
				a := r.expect("joined", got, "done")
				allowed := i < 3
				if !a.merged || (a.reply.Verdict() == store.Allowed) != allowed {
					t.Errorf("call %d: %+v, want merged, allowed %v", i, a, allowed)
				}
				for limit := range limits {
					if want := max(2-int64(i), 0); a.reply.Remaining(limit) != want {
						t.Errorf("call %d: limit %d: %d remain, want %d", i, limit, a.reply.Remaining(limit), want)
					}
					if late := a.reply.RetryAfter(limit) > 0; late == allowed {
						t.Errorf("call %d: retry after %v", i, a.reply.RetryAfter(limit))
					}
					if (a.reply.Stamp(limit) != 0) != allowed || a.reply.ResetAfter(limit) <= 0 {
						t.Errorf("call %d: stamp %d, reset after %v", i, a.reply.Stamp(limit), a.reply.ResetAfter(limit))
					}
				}
				stamps[a.reply.Stamp(0)]++
			}
			if len(stamps) != 2 || stamps[0] != 2 {
				t.Errorf("stamps %v, want one of 3 calls", stamps)
			}
		}
	})
}

func specsOf(letters string, quota int64) (limits []store.LimitSpec) {
	for i, letter := range letters {
		limits = append(limits, store.LimitSpec{Name: fmt.Sprint("n", i), Algorithm: byte(letter), Quota: quota, Window: time.Hour})
	}
	return limits
}

// TestMergedBatchesAreBounded: a queue longer than a batch may be goes in several.
func TestMergedBatchesAreBounded(t *testing.T) {
	r := newMergeRig(t, redistest.Single(t), patient)
	first, held := r.lead()
	var joined []chan mergeAnswer
	const calls = 2*store.MostMembers + 7
	for range calls {
		joined = append(joined, r.take(t.Context()))
	}
	if !within(func() bool { return r.kv.Queued(r.set, r.tag) == calls }) {
		t.Fatal("the calls do not join")
	}
	held.then <- pass
	for _, n := range []int{store.MostMembers, store.MostMembers, 7} {
		r.pass(n)
	}
	remaining := []int64{r.expect("the first", first, "done").reply.Remaining(0)}
	for _, got := range joined {
		if a := r.expect("joined", got, "done"); a.reply.Verdict() == store.Allowed {
			remaining = append(remaining, a.reply.Remaining(0))
		}
	}
	slices.Sort(remaining)
	for i, n := range remaining {
		if n != int64(i) {
			t.Fatalf("%d calls allowed of a quota of 1000, what remained: %v", len(remaining), remaining)
		}
	}
}

// TestMergedDeadlines: each call ends at its own deadline, whatever it waits for, and the
// error says what is known. Meanwhile what it waits for is still under way.
func TestMergedDeadlines(t *testing.T) {
	const budget = 50 * time.Millisecond
	shortly := func(t *testing.T) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), budget)
		t.Cleanup(cancel)
		return ctx
	}
	t.Run("before its batch is sent, the caller's deadline", func(t *testing.T) {
		r := newMergeRig(t, redistest.Single(t), patient)
		first, held := r.lead()
		hurried, other := r.join(shortly(t)), r.join(t.Context())
		r.expect("hurried", hurried, "hurried") // the first is still stopped
		held.then <- pass
		r.pass(1)
		r.expect("the first", first, "done")
		r.expect("the other", other, "done")
		r.expectSpent(2)
	})
	t.Run("before its batch is sent, the budget", func(t *testing.T) {
		r := newMergeRig(t, redistest.Single(t), budget)
		first, held := r.lead()
		a := r.expect("joined", r.join(t.Context()), "unavailable")
		if a.err == nil || !strings.Contains(a.err.Error(), "nothing was sent") {
			t.Errorf("error %v, want that nothing was sent", a.err)
		}
		held.then <- pass
		<-first // its budget is over too
	})
	t.Run("in a batch, the caller's deadline", func(t *testing.T) {
		growing(t, func(d time.Duration) bool {
			r := newMergeRig(t, redistest.Single(t), patient)
			r.tag = store.MakeTag(t.Name(), d.String())
			first, held := r.lead()
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			hurried, other := r.join(ctx), r.join(t.Context())
			held.then <- pass
			batch := <-r.door.stopped
			if batch.calls == 2 {
				r.expect("hurried", hurried, "hurried, unknown") // the batch is still stopped
			}
			batch.then <- pass
			r.expect("the first", first, "done")
			r.expect("the other", other, "done")
			r.expectSpent(1 + int64(batch.calls))
			return batch.calls == 2
		})
	})
	t.Run("in a batch, the budget", func(t *testing.T) {
		growing(t, func(d time.Duration) bool {
			r := newMergeRig(t, redistest.Single(t), d)
			first, held := r.lead()
			joined := r.join(t.Context())
			held.then <- pass
			<-first
			select {
			case batch := <-r.door.stopped:
				r.expect("joined", joined, "unknown") // the batch is still stopped
				batch.then <- pass
				return true
			case <-joined:
				return false
			}
		})
	})
	t.Run("at the instant of the draft", func(t *testing.T) {
		r := newMergeRig(t, redistest.Single(t), patient)
		first, held := r.lead()
		ctx, cancel := context.WithCancel(t.Context())
		left, other := r.join(ctx), r.join(t.Context())
		cancel()
		held.then <- pass
		r.pass(1)
		r.expect("the first", first, "done")
		r.expect("left", left, "canceled")
		r.expect("the other", other, "done")
		r.expectSpent(2)
	})
	t.Run("canceled in a batch", func(t *testing.T) {
		r := newMergeRig(t, redistest.Single(t), patient)
		first, held := r.lead()
		ctx, cancel := context.WithCancel(t.Context())
		left := r.join(ctx)
		held.then <- pass
		batch := r.stopped(1)
		cancel()
		batch.then <- pass
		r.expect("the first", first, "done")
		r.expect("left", left, "done") // it was decided, so it learns how
		r.expectSpent(2)
	})
}

// growing tries with a deadline that a busy machine may miss, and then with longer ones.
func growing(t *testing.T, try func(d time.Duration) bool) {
	t.Helper()
	for d := 200 * time.Millisecond; !try(d); d *= 2 {
		if d > 4*time.Second {
			t.Fatalf("the calls of a test are not under way after %v", d)
		}
	}
}

// TestMergedDeadlinesAtRandom: callers leave at all times. No permit is spent twice, and
// none for a call whose error says that nothing was done.
func TestMergedDeadlinesAtRandom(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.Single(t).Addrs()[0])
	prefix := redistest.Prefix(t)
	kv, healthy := newStore(t, redistest.NewClient(t, proxy.Addr()), prefix), newStore(t, redistest.Single(t).Client(t), prefix)
	set := store.NewLimitSet(store.LimitSpec{Name: "n", Algorithm: 'w', Quota: 4096, Window: time.Hour})
	call := store.LimitCall{Set: set, Tag: store.MakeTag("test"), Cost: 1}
	if _, _, err := kv.LimitTakeMerged(t.Context(), call, nil); err != nil {
		t.Fatal(err)
	}
	proxy.DelayReplies(time.Millisecond)
	var allowed, unknown, merged, nothing atomic.Int64
	allowed.Add(1)
	var callers sync.WaitGroup
	for caller := range 32 {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(caller)))
			for range 60 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+random.IntN(5000))*time.Microsecond)
				_, together, err := kv.LimitTakeMerged(ctx, call, nil)
				cancel()
				switch {
				case err == nil:
					allowed.Add(1)
				case errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled):
					t.Errorf("a caller's own deadline: %v", err)
				case errors.Is(err, store.ErrUnknownOutcome):
					unknown.Add(1)
				default:
					nothing.Add(1)
				}
				if together {
					merged.Add(1)
				}
			}
		})
	}
	callers.Wait()
	proxy.DelayReplies(0)
	if !within(func() bool { return kv.Flights() == 0 }) {
		t.Error("calls are still under way")
	}
	reply, err := healthy.LimitPeek(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	spent := 4096 - reply.Remaining(0)
	t.Logf("%d allowed, %d unknown, %d not sent, %d of them merged; %d permits spent", allowed.Load(), unknown.Load(), nothing.Load(), merged.Load(), spent)
	if spent < allowed.Load() || spent > allowed.Load()+unknown.Load() || merged.Load() == 0 {
		t.Error("the permits do not fit the answers")
	}
}
