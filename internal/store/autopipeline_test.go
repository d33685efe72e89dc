package store_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// pipelined is a store behind a proxy. Its client waits long for replies and counts its
// pipelines.
func pipelined(t *testing.T, budget time.Duration) (*store.Store, *redistest.Proxy, *pipelineHook) {
	t.Helper()
	proxy := redistest.NewProxy(t, redistest.NewSingle(t).Addrs()[0])
	client := recommended(t, "redis://"+proxy.Addr(), func(o *redis.UniversalOptions) {
		o.PoolSize = 100
		o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = time.Minute, time.Minute, time.Minute
	})
	hook := &pipelineHook{}
	client.AddHook(hook)
	kv, err := store.New(client, store.Options{Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Reset) // a client closes when its replies are there
	return kv, proxy, hook
}

type pipelineHook struct{ pipelines atomic.Int64 }

func (h *pipelineHook) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *pipelineHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *pipelineHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.pipelines.Add(1)
		return next(ctx, cmds)
	}
}

// A lone caller has a connection of its own. Callers that come when 4 calls are under way
// share a few.
func TestCallsAboveFourShareConnections(t *testing.T) {
	t.Parallel()
	kv, proxy, hook := pipelined(t, 10*time.Second)
	ctx := context.Background()
	call := func(i int) {
		if _, err := kv.LimitTake(ctx, store.LimitCall{Set: windowSet, Tag: store.MakeTag("test", fmt.Sprint(i)), Cost: 1}); err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	call(0) // the client sets up its connection in a pipeline
	before := hook.pipelines.Load()
	for i := range 20 {
		call(i)
	}
	if got := hook.pipelines.Load() - before; got != 0 {
		t.Errorf("calls one after the other went out in %d pipelines, want none", got)
	}
	proxy.DelayReplies(100 * time.Millisecond) // so that all are under way together
	var wg sync.WaitGroup
	for i := range 80 {
		wg.Go(func() { call(i) })
	}
	wg.Wait()
	if got := proxy.Traffic().Conns; got > 4+4 {
		t.Errorf("80 calls at once took %d connections, want 4 and those of 4 pipelines", got)
	}
}

// A connection that goes silent delays only the callers that share it. After the first
// deadline other callers do not use it, though the client would wait for it much longer.
func TestSilentConnectionIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	kv, proxy, _ := pipelined(t, time.Second)
	call := store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}
	for _, above := range []int64{16, 0} { // the connections of both kinds are there, and the script
		kv.PipelineAbove(above)
		if _, err := kv.LimitTake(t.Context(), call); err != nil {
			t.Fatal(err)
		}
	}
	proxy.DelayReplies(time.Minute)
	if _, err := kv.LimitTake(t.Context(), call); !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("call on the silent connection: %v, want ErrUnknownOutcome", err)
	}
	proxy.DelayReplies(0) // for new requests; the reply that is late stays late
	for range 3 {
		if _, err := kv.LimitTake(t.Context(), call); err != nil {
			t.Errorf("call after that: %v", err)
		}
	}
}

// TestSilentConnectionAndHurriedCallers: if a caller's own deadline passes, that says
// little about the connection. If many pass with no reply in between, the connection is
// silent.
func TestSilentConnectionAndHurriedCallers(t *testing.T) {
	t.Parallel()
	kv, proxy, _ := pipelined(t, 10*time.Second)
	call := store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}
	if _, err := kv.LimitTake(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	kv.PipelineAbove(0)
	proxy.DelayReplies(time.Minute)
	hurried := func() error {
		soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := kv.LimitTake(soon, call)
		if err != nil && (!errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnavailable)) {
			t.Errorf("hurried call: %v, want its context's error, and not ErrUnavailable", err)
		}
		return err
	}
	if hurried() == nil {
		t.Fatal("a reply came")
	}
	proxy.DelayReplies(0)
	for end := time.Now().Add(10 * time.Second); hurried() != nil; {
		if time.Now().After(end) {
			t.Fatal("hurried callers wait for the silent connection for ever")
		}
	}
}

// TestHurriedCallersLeaveTheSharedPipelineOn: short deadlines of some callers do not stop
// the others from sharing it.
func TestHurriedCallersLeaveTheSharedPipelineOn(t *testing.T) {
	t.Parallel()
	kv, proxy, _ := pipelined(t, 10*time.Second)
	kv.PipelineAbove(0)
	call := store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}
	if _, err := kv.LimitTake(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	proxy.DelayReplies(5 * time.Millisecond)
	const calls = 50
	late := 0
	for range calls {
		soon, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
		if _, err := kv.LimitTake(soon, call); err != nil {
			late++
		}
		cancel()
		if kv.PipelineRests() {
			t.Fatal("pipelines are left alone after a caller's own deadline")
		}
		if _, err := kv.LimitTake(t.Context(), call); err != nil {
			t.Fatal(err)
		}
	}
	if late == 0 {
		t.Fatal("no call was late")
	}
}

// TestPipelinesOfARing: calls to the servers of a Ring go out together as well.
func TestPipelinesOfARing(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{
		"a": redistest.NewSingle(t).Addrs()[0], "b": redistest.NewSingle(t).Addrs()[0]}})
	t.Cleanup(func() { ring.Close() })
	kv := newStore(t, ring, redistest.Prefix(t))
	kv.PipelineAbove(0)
	var wg sync.WaitGroup
	for i := range 80 {
		wg.Go(func() {
			call := store.LimitCall{Set: windowSet, Tag: store.MakeTag("test", fmt.Sprint(i)), Cost: 1}
			if _, err := kv.LimitTake(t.Context(), call); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// panickingPipelines is a hook of a client.
type panickingPipelines struct{ pipelineHook }

func (h *panickingPipelines) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { panic("a hook") }
}

// TestPanicInAPipeline: a hook that panics fails the calls of the pipeline, and neither
// the program nor the calls after them.
func TestPanicInAPipeline(t *testing.T) {
	t.Parallel()
	client := redistest.NewClient(t, redistest.Single(t).Addrs()[0])
	kv := newStore(t, client, redistest.Prefix(t))
	call := store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}
	if _, err := kv.LimitTake(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	client.AddHook(&panickingPipelines{})
	kv.PipelineAbove(0)
	for range 2 {
		if _, err := kv.LimitTake(t.Context(), call); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "a hook") {
			t.Errorf("a call in a pipeline whose hook panics: %v", err)
		}
	}
	kv.PipelineAbove(16)
	if _, err := kv.LimitTake(t.Context(), call); err != nil {
		t.Errorf("a call by itself: %v", err)
	}
}

// TestLanesEnd: no goroutine is left when no call is under way.
func TestLanesEnd(t *testing.T) {
	kv := newStore(t, redistest.Single(t).Client(t), redistest.Prefix(t))
	kv.PipelineAbove(0)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			call := store.LimitCall{Set: windowSet, Tag: store.MakeTag("test", fmt.Sprint(i)), Cost: 1}
			if _, err := kv.LimitTake(t.Context(), call); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for kv.Lanes() > 0 { // a lane ends a moment after its last call
		runtime.Gosched()
	}
}

// TestProbeGoesAlone: a probe asks a server that may be down. So no call shares a
// pipeline with it, and a late probe does not count against the pipelines.
func TestProbeGoesAlone(t *testing.T) {
	kv, proxy, _ := pipelined(t, 300*time.Millisecond)
	kv.PipelineAbove(0)
	proxy.BlackHole(true)
	if err := kv.Probe(store.MakeTag("test")); err == nil || kv.PipelineRests() {
		t.Errorf("a probe of a server that is silent: %v, pipelines rest: %v", err, kv.PipelineRests())
	}
	if _, err := kv.LimitTake(t.Context(), store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}); err == nil || !kv.PipelineRests() {
		t.Errorf("a call to it: %v, pipelines rest: %v", err, kv.PipelineRests())
	}
	proxy.Heal() // ends what the client still waits for
}
