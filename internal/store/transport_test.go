package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// Limits for tests of the transport: one of each algorithm, never used up and never
// expired here.
var (
	windowSet  = store.NewLimitSet(store.LimitSpec{Name: "n", Algorithm: 'w', Quota: 1000, Window: time.Hour})
	bucketsSet = store.NewLimitSet(store.LimitSpec{Name: "n", Algorithm: 'b', Quota: 1000, Window: time.Hour})
	logSet     = store.NewLimitSet(store.LimitSpec{Name: "n", Algorithm: 'l', Quota: 1000, Window: time.Hour})
	pairSet    = store.NewLimitSet(store.LimitSpec{Name: "n", Algorithm: 'w', Quota: 1000, Window: time.Hour},
		store.LimitSpec{Name: "m", Algorithm: 'b', Quota: 1000, Window: time.Minute})
)

// patient is a budget that a busy machine does not use up by itself.
const patient = 10 * time.Second

// newStore returns a store for calls that get an answer.
func newStore(t *testing.T, client store.Client, prefix string) *store.Store {
	t.Helper()
	kv, err := store.New(client, store.Options{Prefix: prefix, Budget: patient})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// spent returns how many permits of each limit are spent.
func spent(t *testing.T, kv *store.Store, set *store.LimitSet, tag store.Tag) (permits []int64) {
	t.Helper()
	reply, err := kv.LimitPeek(t.Context(), store.LimitCall{Set: set, Tag: tag, Cost: 1})
	if err != nil {
		t.Fatalf("peek: %v", err)
	}
	for i := range set.Len() {
		permits = append(permits, 1000-reply.Remaining(i))
	}
	return permits
}

// is returns the kind of an error, in the words of the tables below.
func is(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, store.ErrUnavailable):
		return "hurried" // the caller's deadline
	case !errors.Is(err, store.ErrUnavailable):
		return "no error of package lua"
	case errors.Is(err, store.ErrUnknownOutcome):
		return "unknown"
	case errors.Is(err, store.ErrMalformedReply):
		return "malformed"
	case errors.Is(err, store.ErrRefused):
		return "refused"
	}
	return "unavailable"
}

// faultyServer is a server that is reached through proxies, and a store that sees their
// faults; healthy does not.
type faultyServer struct {
	proxies        []*redistest.Proxy
	store, healthy *store.Store
	client         redis.UniversalClient
}

func newFaultyServer(t *testing.T, server *redistest.Server) *faultyServer {
	t.Helper()
	return newFaultyServerWith(t, server, store.Options{})
}

func newFaultyServerWith(t *testing.T, server *redistest.Server, opts store.Options) *faultyServer {
	t.Helper()
	f, prefix := &faultyServer{}, redistest.Prefix(t)
	for _, node := range server.Nodes() {
		f.proxies = append(f.proxies, redistest.NewProxy(t, node.Addr()))
	}
	f.client = server.Client(t, redistest.Through(f.proxies...))
	opts.Prefix, opts.Budget = prefix, patient
	var err error
	if f.store, err = store.New(f.client, opts); err != nil {
		t.Fatal(err)
	}
	f.healthy = newStore(t, server.Client(t), prefix)
	return f
}

func (f *faultyServer) each(do func(p *redistest.Proxy)) {
	for _, p := range f.proxies {
		do(p)
	}
}

// operation is a call of each script, and what it leaves spent of 5 permits that were
// spent before.
type operation struct {
	name  string
	set   *store.LimitSet
	do    func(ctx context.Context, s *store.Store, call store.LimitCall, stamp int64) error
	safe  bool
	reads bool
	after int64
}

func take(ctx context.Context, s *store.Store, call store.LimitCall, _ int64) error {
	_, err := s.LimitTake(ctx, call)
	return err
}

func peek(ctx context.Context, s *store.Store, call store.LimitCall, _ int64) error {
	_, err := s.LimitPeek(ctx, call)
	return err
}

func refund(ctx context.Context, s *store.Store, call store.LimitCall, stamp int64) error {
	call.Cost, call.Name = 5, "before"
	_, err := s.LimitRefund(ctx, call, []int64{stamp})
	return err
}

func reset(ctx context.Context, s *store.Store, call store.LimitCall, _ int64) error {
	return s.LimitReset(ctx, call)
}

var operations = []operation{
	{name: "take/window", set: windowSet, do: take, after: 6},
	{name: "take/buckets", set: bucketsSet, do: take, after: 6},
	{name: "take/log", set: logSet, do: take, after: 6, safe: true},
	{name: "peek/window", set: windowSet, do: peek, after: 5, safe: true, reads: true},
	{name: "refund/window", set: windowSet, do: refund, after: 0},
	{name: "refund/buckets", set: bucketsSet, do: refund, after: 0},
	{name: "refund/log", set: logSet, do: refund, after: 0},
	{name: "reset/window", set: windowSet, do: reset, after: 0, safe: true},
}

// run spends 5 permits, breaks the server, calls the operation and says what came of it.
func (f *faultyServer) run(t *testing.T, fault string, o operation, breakIt func(p *redistest.Proxy)) (outcome string, left int64) {
	t.Helper()
	call := store.LimitCall{Set: o.set, Tag: store.MakeTag("test", fault, o.name), Cost: 5, Name: "before"}
	before, err := f.store.LimitTake(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	call.Cost, call.Name = 1, "this"
	f.each(breakIt)
	err = o.do(t.Context(), f.store, call, before.Stamp(0))
	f.each((*redistest.Proxy).Heal)
	return is(err), spent(t, f.healthy, o.set, call.Tag)[0]
}

func onSingleAndCluster(t *testing.T, f func(t *testing.T, server *redistest.Server)) {
	t.Helper()
	t.Run("single", func(t *testing.T) { f(t, redistest.Single(t)) })
	t.Run("cluster", func(t *testing.T) { f(t, redistest.Cluster(t)) })
}

// TestLostReply: a script that ran and whose reply is lost runs once, whatever the
// client's options say; only one that may be repeated is sent again.
func TestLostReply(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	onSingleAndCluster(t, func(t *testing.T, server *redistest.Server) {
		for _, opts := range []store.Options{{NoAutoPipeline: true}, {}} {
			f := newFaultyServerWith(t, server, opts)
			if !opts.NoAutoPipeline {
				f.store.PipelineAbove(0)
			}
			for _, o := range operations {
				t.Run(o.name, func(t *testing.T) {
					want := "unknown"
					if o.safe {
						want = "done"
					}
					got, left := f.run(t, "one reply", o, func(p *redistest.Proxy) { p.DropReply(1) })
					if got != want || left != o.after {
						t.Errorf("%s, %+v, one reply lost: %s, %d permits spent; want %s, %d", o.name, opts, got, left, want, o.after)
					}
					got, left = f.run(t, "every reply", o, func(p *redistest.Proxy) { p.DropReplyEvery(1) })
					want = "unknown"
					if o.reads {
						want = "unavailable"
					}
					if got != want || left != o.after {
						t.Errorf("%s, %+v, every reply lost: %s, %d permits spent; want %s, %d", o.name, opts, got, left, want, o.after)
					}
				})
			}
		}
	})
}

// TestLostReplyIsSentOnce counts what a client with go-redis's own retries on puts on the
// wire.
func TestLostReplyIsSentOnce(t *testing.T) {
	f := newFaultyServer(t, redistest.Single(t))
	proxy := f.proxies[0]
	for _, c := range []struct {
		operation
		want int64
	}{{operations[0], 1}, {operations[2], 3}, {operations[3], 3}} {
		call := store.LimitCall{Set: c.set, Tag: store.MakeTag("test", "sent", c.name), Cost: 1, Name: "this"}
		if err := c.do(t.Context(), f.store, call, 0); err != nil {
			t.Fatal(err)
		}
		proxy.DropReplyEvery(1)
		call.Name = "that"
		passed := proxy.During(func() { _ = c.do(t.Context(), f.store, call, 0) })
		proxy.Heal()
		if got := passed.Commands.Of("eval", "evalsha"); got != c.want {
			t.Errorf("%s: sent %d times while every reply was lost, want %d", c.name, got, c.want)
		}
	}
}

// TestSwallowedRequest: the connection ends and the request never arrived. The client
// cannot distinguish that from a lost reply.
func TestSwallowedRequest(t *testing.T) {
	f := newFaultyServer(t, redistest.Single(t))
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			wantOutcome, wantLeft := "unknown", int64(5)
			if o.safe {
				wantOutcome, wantLeft = "done", o.after
			}
			got, left := f.run(t, "request", o, func(p *redistest.Proxy) { p.SwallowRequest(1) })
			if got != wantOutcome || left != wantLeft {
				t.Errorf("%s, %d permits spent; want %s, %d", got, left, wantOutcome, wantLeft)
			}
		})
	}
}

// TestLostReplyInPipeline: if a pipeline breaks off, the answers that came are known, the
// other calls are unknown or repeated, and all are charged once.
func TestLostReplyInPipeline(t *testing.T) {
	onSingleAndCluster(t, func(t *testing.T, server *redistest.Server) {
		f := newFaultyServer(t, server)
		for _, c := range []struct {
			name string
			set  *store.LimitSet
			safe bool
		}{{"unsafe", windowSet, false}, {"safe", logSet, true}} {
			calls := manyCalls(c.set, c.name, 30)
			if _, errs := f.store.LimitTakeMany(t.Context(), calls); errors.Join(errs...) != nil {
				t.Fatal(errors.Join(errs...))
			}
			for i := range calls {
				calls[i].Name = "second"
			}
			f.each(func(p *redistest.Proxy) { p.DropReply(4) })
			replies, errs := f.store.LimitTakeMany(t.Context(), calls)
			f.each((*redistest.Proxy).Heal)
			lost := 0
			for i, call := range calls {
				switch {
				case errs[i] == nil && replies[i].Verdict() != store.Allowed && replies[i].Verdict() != store.AllowedBefore:
					t.Errorf("%s: call %d: verdict %d", c.name, i, replies[i].Verdict())
				case is(errs[i]) == "unknown":
					lost++
				case errs[i] != nil:
					t.Errorf("%s: call %d: %v, want nil or unknown", c.name, i, errs[i])
				}
				if got := spent(t, f.healthy, c.set, call.Tag)[0]; got != 2 {
					t.Errorf("%s: call %d: %d permits spent by two takes (this one %s)", c.name, i, got, is(errs[i]))
				}
			}
			if c.safe != (lost == 0) {
				t.Errorf("%s: %d of %d lost", c.name, lost, len(calls))
			}
		}
	})
}

func manyCalls(set *store.LimitSet, name string, n int) []store.LimitCall {
	calls := make([]store.LimitCall, n)
	for i := range calls {
		calls[i] = store.LimitCall{Set: set, Tag: store.MakeTag("test", name, fmt.Sprint(i)), Cost: 1, Name: "first"}
	}
	return calls
}

// TestNoScript: servers forget scripts, at a restart, a failover, SCRIPT FLUSH. No call
// fails for it or is charged twice, and the text is sent once to each node, not with each
// item of a pipeline.
func TestNoScript(t *testing.T) {
	t.Parallel()
	single, cluster := redistest.NewSingle(t), redistest.NewCluster(t)
	for _, c := range []struct {
		server  *redistest.Server
		masters int64
	}{{single, 1}, {cluster, 3}} {
		t.Run(c.server.Name(), func(t *testing.T) {
			f := newFaultyServer(t, c.server)
			texts := func(do func()) (evals int64) {
				for _, node := range c.server.Nodes() {
					if err := redistest.NewClient(t, node.Addr()).ScriptFlush(t.Context()).Err(); err != nil {
						t.Fatal(err)
					}
				}
				before := make([]int64, len(f.proxies))
				for i, p := range f.proxies {
					before[i] = p.Traffic().Commands.Of("eval")
				}
				do()
				for i, p := range f.proxies {
					evals += p.Traffic().Commands.Of("eval") - before[i]
				}
				return evals
			}
			for _, o := range operations {
				t.Run(o.name, func(t *testing.T) {
					call := store.LimitCall{Set: o.set, Tag: store.MakeTag("test", "alone", o.name), Cost: 5, Name: "before"}
					before, err := f.store.LimitTake(t.Context(), call)
					if err != nil {
						t.Fatal(err)
					}
					call.Cost, call.Name = 1, "this"
					evals := texts(func() { err = o.do(t.Context(), f.store, call, before.Stamp(0)) })
					if err != nil || evals != 1 {
						t.Errorf("error %v, %d EVAL; want nil, 1", err, evals)
					}
					if got := spent(t, f.healthy, o.set, call.Tag)[0]; got != o.after {
						t.Errorf("%d permits spent, want %d", got, o.after)
					}
				})
			}
			calls := append(manyCalls(windowSet, "many", 40), manyCalls(logSet, "many logs", 40)...)
			var replies []store.LimitReply
			var errs []error
			evals := texts(func() { replies, errs = f.store.LimitTakeMany(t.Context(), calls) })
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			for i, call := range calls {
				if got := spent(t, f.healthy, call.Set, call.Tag)[0]; replies[i].Verdict() != store.Allowed || got != 1 {
					t.Errorf("item %d: verdict %d, %d permits spent; want 1, 1", i, replies[i].Verdict(), got)
				}
			}
			if want := 2 * c.masters; evals != want {
				t.Errorf("%d EVAL for two scripts on %d masters, want %d", evals, c.masters, want)
			}
		})
	}
}

// TestScriptFlushLoop flushes at any moment of many calls.
func TestScriptFlushLoop(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	server := redistest.NewSingle(t)
	client := server.Client(t)
	kv := newStore(t, client, redistest.Prefix(t))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				client.ScriptFlush(context.Background())
			}
		}
	}()
	for round := range int64(100) {
		calls := append(manyCalls(windowSet, "flush", 4), manyCalls(bucketsSet, "flush", 4)...)
		_, errs := kv.LimitTakeMany(t.Context(), calls)
		if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
			t.Fatalf("round %d, item %d: %v", round, i, errs[i])
		}
	}
	close(stop)
	<-stopped
	if got := spent(t, kv, windowSet, store.MakeTag("test", "flush", "0"))[0]; got != 100 {
		t.Errorf("%d permits spent by 100 takes", got)
	}
}
