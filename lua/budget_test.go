package lua_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/lua"
	"github.com/gatekit/gatekit/lua/luatest"
)

// TestBudget: a server that does not answer costs one budget, or what is left of the caller's deadline, with the recommended
// options and also with the client's own, if only ContextTimeoutEnabled is set.
func TestBudget(t *testing.T) {
	const budget = lua.DefaultBudget
	single, cluster, sentinel := luatest.NewSingle(t), luatest.NewCluster(t), luatest.NewSentinel(t)
	clients := map[string]redis.UniversalClient{
		"single":   recommended(t, single.URL()),
		"cluster":  recommended(t, cluster.URL()),
		"sentinel": redis.NewUniversalClient(sentinelOptions(t, sentinel)),
		"own options": redis.NewUniversalClient(&redis.UniversalOptions{
			Addrs: single.Addrs(), ContextTimeoutEnabled: true}),
		"cluster, cold":  recommended(t, cluster.URL()),
		"single, cold":   recommended(t, single.URL()),
		"sentinel, cold": redis.NewUniversalClient(sentinelOptions(t, sentinel)),
	}
	prefix := luatest.Prefix(t)
	stores := map[string]*lua.Store{}
	for name, client := range clients {
		t.Cleanup(func() { client.Close() })
		stores[name] = newDefaultStore(t, client, prefix)
		if !strings.HasSuffix(name, "cold") {
			await(t, name+" answers", func() bool {
				return take(t.Context(), stores[name], lua.LimitCall{Set: windowSet, Tag: lua.MakeTag("warm"), Cost: 1}, 0) == nil
			})
		}
	}
	for _, server := range []*luatest.Server{single, cluster, sentinel} {
		server.Freeze(t)
		t.Cleanup(func() { server.Thaw(t) })
	}
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			measure := func(ctx context.Context, what string, budget time.Duration, do func(ctx context.Context) error) {
				t.Helper()
				still, start := luatest.WatchStandstill(t), time.Now()
				err := do(ctx)
				took := still.Since(start)
				t.Logf("%s: %v (%v)", what, took.Round(100*time.Microsecond), err)
				if is(err) != "unknown" && is(err) != "unavailable" {
					t.Errorf("%s: %v from a frozen server", what, err)
				}
				if took > 2*budget {
					t.Errorf("%s: took %v with a budget of %v", what, took, budget)
				}
			}
			one := func(ctx context.Context) error {
				return take(ctx, store, lua.LimitCall{Set: windowSet, Tag: lua.MakeTag("test"), Cost: 1}, 0)
			}
			repeatable := func(ctx context.Context) error {
				return take(ctx, store, lua.LimitCall{Set: logSet, Tag: lua.MakeTag("test"), Cost: 1, Name: "id"}, 0)
			}
			many := func(ctx context.Context) error {
				_, errs := store.LimitTakeMany(ctx, manyCalls(windowSet, "frozen", 8))
				return errs[len(errs)-1]
			}
			measure(t.Context(), "take", budget, one)
			measure(t.Context(), "take of a log", budget, repeatable)
			measure(t.Context(), "many", budget, many)
			ctx, cancel := context.WithTimeout(t.Context(), budget/3)
			defer cancel()
			measure(ctx, "take with an earlier deadline", budget/3, one)
		})
	}
}

func newDefaultStore(t *testing.T, client lua.Client, prefix string) *lua.Store {
	t.Helper()
	store, err := lua.New(client, lua.Options{Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func sentinelOptions(t *testing.T, server *luatest.Server) *redis.UniversalOptions {
	t.Helper()
	addrs := server.Addrs()
	options, err := lua.RecommendedOptions("redis://" + addrs[0] + "?addr=" + strings.Join(addrs[1:], "&addr="))
	if err != nil {
		t.Fatal(err)
	}
	options.MasterName = "mymaster"
	return options
}

// TestCancelDoesNotInterrupt: a request that is gone has its decision finished, so that it is known what was spent.
func TestCancelDoesNotInterrupt(t *testing.T) {
	f := newFaultyServer(t, luatest.Single(t))
	if err := take(t.Context(), f.store, lua.LimitCall{Set: windowSet, Tag: lua.MakeTag("warm"), Cost: 1}, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	f.proxies[0].DelayReplies(80 * time.Millisecond)
	start := time.Now()
	err := take(ctx, f.store, lua.LimitCall{Set: windowSet, Tag: lua.MakeTag("test"), Cost: 1}, 0)
	took := time.Since(start)
	f.proxies[0].Heal()
	if err != nil || took < 80*time.Millisecond || ctx.Err() == nil {
		t.Errorf("cancelled in between: %v after %v (context: %v), want the reply after 80 ms", err, took, ctx.Err())
	}
	if got := spent(t, f.healthy, windowSet, lua.MakeTag("test"))[0]; got != 1 {
		t.Errorf("%d permits spent", got)
	}
}
