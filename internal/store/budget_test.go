package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// TestBudget: a server that does not answer costs one budget, or what is left of the
// caller's deadline, with the recommended options and also with the client's own, if only
// ContextTimeoutEnabled is set.
func TestBudget(t *testing.T) {
	redistest.Long(t)
	const budget = store.DefaultBudget
	single, cluster, sentinel := redistest.NewSingle(t), redistest.NewCluster(t), redistest.NewSentinel(t)
	clients := map[string]redis.UniversalClient{
		"single":   recommended(t, single.URL()),
		"cluster":  recommended(t, cluster.URL()),
		"sentinel": redis.NewUniversalClient(sentinelOptions(t, sentinel)),
		"own options": redis.NewUniversalClient(&redis.UniversalOptions{
			Addrs: single.Addrs(), ContextTimeoutEnabled: true, ReadTimeout: time.Minute}),
		"cluster, cold":  recommended(t, cluster.URL()),
		"single, cold":   recommended(t, single.URL()),
		"sentinel, cold": redis.NewUniversalClient(sentinelOptions(t, sentinel)),
	}
	prefix := redistest.Prefix(t)
	stores := map[string]*store.Store{}
	for name, client := range clients {
		t.Cleanup(func() { client.Close() })
		stores[name] = newDefaultStore(t, client, prefix)
		if !strings.HasSuffix(name, "cold") {
			await(t, name+" answers", func() bool {
				return take(t.Context(), stores[name], store.LimitCall{Set: windowSet, Tag: store.MakeTag("warm"), Cost: 1}, 0) == nil
			})
		}
	}
	for _, kv := range stores {
		t.Cleanup(kv.WaitForBackground)
	}
	for _, server := range []*redistest.Server{single, cluster, sentinel} {
		server.Freeze(t)
		t.Cleanup(func() { server.Thaw(t) })
	}
	for name, kv := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			measure := func(ctx context.Context, what string, budget time.Duration, do func(ctx context.Context) error) (outcome string) {
				t.Helper()
				still, start := redistest.WatchStandstill(t), time.Now()
				err := do(ctx)
				t.Logf("%s: %v (%v)", what, time.Since(start).Round(100*time.Microsecond), err)
				still.Within(t, what, start, 2*budget)
				return is(err)
			}
			one := func(ctx context.Context) error {
				return take(ctx, kv, store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}, 0)
			}
			repeatable := func(ctx context.Context) error {
				return take(ctx, kv, store.LimitCall{Set: logSet, Tag: store.MakeTag("test"), Cost: 1, Name: "id"}, 0)
			}
			many := func(ctx context.Context) error {
				_, errs := kv.LimitTakeMany(ctx, manyCalls(windowSet, "frozen", 8))
				return errs[len(errs)-1]
			}
			for what, do := range map[string]func(ctx context.Context) error{"take": one, "take of a log": repeatable, "many": many} {
				t.Run(what, func(t *testing.T) {
					if got := measure(t.Context(), what, budget, do); got != "unknown" && got != "unavailable" {
						t.Errorf("%s from a frozen server", got)
					}
				})
			}
			ctx, cancel := context.WithTimeout(t.Context(), budget/3)
			defer cancel()
			if got := measure(ctx, "take with an earlier deadline", budget/3, one); got != "hurried" {
				t.Errorf("take with an earlier deadline: %s from a frozen server, want the caller's deadline", got)
			}
		})
	}
}

func newDefaultStore(t *testing.T, client store.Client, prefix string) *store.Store {
	t.Helper()
	kv, err := store.New(client, store.Options{Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func sentinelOptions(t *testing.T, server *redistest.Server) *redis.UniversalOptions {
	t.Helper()
	addrs := server.Addrs()
	options, err := store.RecommendedOptions("redis://" + addrs[0] + "?addr=" + strings.Join(addrs[1:], "&addr="))
	if err != nil {
		t.Fatal(err)
	}
	options.MasterName = "mymaster"
	return options
}

// TestCancelDoesNotInterrupt: if a request is canceled, its decision is finished all the
// same, so that the caller knows what was spent.
func TestCancelDoesNotInterrupt(t *testing.T) {
	f := newFaultyServer(t, redistest.Single(t))
	if err := take(t.Context(), f.store, store.LimitCall{Set: windowSet, Tag: store.MakeTag("warm"), Cost: 1}, 0); err != nil {
		t.Fatal(err)
	}
	// If the delay ends before the cancellation, the try shows nothing, and the test
	// tries a longer delay.
	for delay, n := 100*time.Millisecond, int64(1); ; delay, n = 2*delay, n+1 {
		f.proxies[0].DelayReplies(delay)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- take(ctx, f.store, store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}, 0)
		}()
		await(t, "the server has done it", func() bool {
			return spent(t, f.healthy, windowSet, store.MakeTag("test"))[0] == n
		})
		waited := len(ended) == 0
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("cancelled in between: %v, want the reply", err)
		}
		if got := spent(t, f.healthy, windowSet, store.MakeTag("test"))[0]; got != n {
			t.Errorf("%d permits spent, want %d", got, n)
		}
		if waited || delay > 5*time.Second {
			return
		}
	}
}
