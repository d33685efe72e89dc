package store_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// turnstile is a hook of a client that counts what is under way in pipelines, and does
// something to those after the first so many.
type turnstile struct {
	pass, underWay, most atomic.Int64
	then                 func(ctx context.Context) error // what happens to those after them; nil passes
}

func (h *turnstile) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *turnstile) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *turnstile) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "evalsha" { // a connection is set up
			return next(ctx, cmds)
		}
		n := int64(len(cmds))
		for now, most := h.underWay.Add(n), h.most.Load(); now > most && !h.most.CompareAndSwap(most, now); {
			most = h.most.Load()
		}
		defer h.underWay.Add(-n)
		if h.pass.Add(-1) < 0 {
			if err := h.then(ctx); err != nil {
				for _, cmd := range cmds {
					cmd.SetErr(err)
				}
				return err
			}
		}
		return next(ctx, cmds)
	}
}

// turnstiled is a store whose pipelines pass a turnstile. Its script is loaded.
func turnstiled(t *testing.T, budget time.Duration) (*store.Store, *redistest.Proxy, *turnstile) {
	t.Helper()
	proxy := redistest.NewProxy(t, redistest.NewSingle(t).Addrs()[0])
	client := recommended(t, "redis://"+proxy.Addr(), func(o *redis.UniversalOptions) {
		o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = time.Minute, time.Minute, time.Minute
	})
	hook := &turnstile{}
	hook.pass.Store(1 << 40)
	client.AddHook(hook)
	kv, err := store.New(client, store.Options{Budget: budget, Prefix: redistest.Prefix(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kv.WaitForBackground)
	t.Cleanup(proxy.Reset)
	if err := take(t.Context(), kv, store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}, 0); err != nil {
		t.Fatal(err)
	}
	return kv, proxy, hook
}

// TestManyInChunks: if there are more calls than can be answered within a budget, the
// answers that came are kept, and calls that were not sent are known to be unspent.
func TestManyInChunks(t *testing.T) {
	t.Parallel()
	const answered, sent, calls = 4 * store.Chunk, 5 * store.Chunk, 5000
	for _, c := range []struct {
		name   string
		budget time.Duration
		cut    time.Duration // the caller's deadline
		is     error
	}{
		{"budget", 3 * time.Second, 10 * time.Second, store.ErrUnavailable},
		{"caller", 10 * time.Second, 3 * time.Second, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kv, proxy, hook := turnstiled(t, c.budget)
			hook.pass.Store(answered / store.Chunk)
			hook.then = func(context.Context) error { proxy.DelayReplies(time.Minute); return nil }
			ctx, cancel := context.WithTimeout(t.Context(), c.cut)
			defer cancel()
			asked := manyCalls(windowSet, c.name, calls)
			still, start := redistest.WatchStandstill(t), time.Now()
			_, errs := kv.LimitTakeMany(ctx, asked)
			still.Within(t, "all parts", start, min(c.budget, c.cut)*2)
			proxy.DelayReplies(0)
			for i, err := range errs {
				switch {
				case i < answered && err == nil:
				case i < answered:
					t.Fatalf("call %d was answered: %v", i, err)
				case !errors.Is(err, c.is) || errors.Is(err, store.ErrUnknownOutcome) != (i < sent):
					t.Fatalf("call %d of %d that were sent: %v", i, sent, err)
				case c.is != store.ErrUnavailable && errors.Is(err, store.ErrUnavailable):
					t.Fatalf("call %d has its caller's deadline against it, not the store: %v", i, err)
				}
			}
			for i := 0; i < calls; i += store.Chunk - 1 {
				want := int64(0)
				if i < sent {
					want = 1
				}
				if got := spent(t, kv, windowSet, asked[i].Tag)[0]; got != want {
					t.Errorf("call %d is charged %d, want %d", i, got, want)
				}
			}
		})
	}
}

// TestManyTakeTurns: no more calls are under way than the server answers within a budget.
// A batch that gets no turn returns an error that says that nothing was sent, whatever
// ended its wait. Afterwards all room is free again, also if pipelines panicked.
func TestManyTakeTurns(t *testing.T) {
	t.Parallel()
	kv, _, hook := turnstiled(t, 10*time.Second)
	release, full := make(chan struct{}), make(chan struct{}, 64)
	hook.pass.Store(0)
	hook.then = func(context.Context) error { full <- struct{}{}; <-release; panic("a hook") }
	panicked := make(chan any, 64)
	ask := func(ctx context.Context, name string) []error {
		_, errs := kv.LimitTakeMany(ctx, manyCalls(windowSet, name, store.Chunk))
		return errs
	}
	const room = store.UnderWayAtOnce / store.Chunk
	for range room {
		go func() {
			defer func() { panicked <- recover() }()
			ask(context.Background(), "holds")
		}()
	}
	for range room {
		<-full
	}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	gone, leave := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for ctx, want := range map[context.Context]error{soon: context.DeadlineExceeded, gone: context.Canceled} {
		for range 8 {
			waiting.Go(func() {
				for _, err := range ask(ctx, "waits") {
					if !errors.Is(err, want) || errors.Is(err, store.ErrUnknownOutcome) || errors.Is(err, store.ErrUnavailable) {
						t.Errorf("no turn: %v, want %v", err, want)
						return
					}
				}
			})
		}
	}
	for kv.Waiting() < 8 {
		time.Sleep(time.Millisecond)
	}
	leave()
	waiting.Wait()
	close(release)
	for range room {
		if <-panicked == nil {
			t.Error("no panic came through")
		}
	}
	hook.pass.Store(1 << 40)
	var callers sync.WaitGroup
	for range 4 * room {
		callers.Go(func() {
			for _, err := range ask(t.Context(), "after") {
				if err != nil {
					t.Errorf("after that: %v", err)
					return
				}
			}
		})
	}
	callers.Wait()
	if got := hook.most.Load(); got > store.UnderWayAtOnce {
		t.Errorf("%d calls were under way at once, want at most %d", got, store.UnderWayAtOnce)
	}
	for name, want := range map[string]int64{"holds": 0, "waits": 0, "after": 4 * room} {
		t.Run(name, func(t *testing.T) {
			if got := spent(t, kv, windowSet, manyCalls(windowSet, name, 1)[0].Tag)[0]; got != want {
				t.Errorf("the first of those that %q is charged %d, want %d", name, got, want)
			}
		})
	}
}
