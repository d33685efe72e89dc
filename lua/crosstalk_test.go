package lua_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/lua"
	"github.com/gatekit/gatekit/lua/luatest"
)

var soak = flag.Duration("soak", time.Second, "how long TestNoCrossTalk runs, each form of it")

// TestNoCrossTalk: 64 callers share 8 connections and give up at random instants, so that replies arrive which nobody waits
// for. None may ever reach another call. A call knows its own by what remains of a limit that only this caller has.
func TestNoCrossTalk(t *testing.T) {
	for _, c := range []struct {
		name string
		opts lua.Options
		pool func(*redis.UniversalOptions)
	}{
		{"alone", lua.Options{NoAutoPipeline: true}, func(o *redis.UniversalOptions) { o.PoolSize = 8 }},
		{"auto-pipeline above 16", lua.Options{}, func(o *redis.UniversalOptions) { o.PoolSize = 8 }},
	} {
		t.Run(c.name, func(t *testing.T) { crossTalk(t, c.opts, c.pool) })
	}
}

func crossTalk(t *testing.T, opts lua.Options, pool func(*redis.UniversalOptions)) {
	server := luatest.NewSingle(t)
	proxy := luatest.NewProxy(t, server.Addrs()[0])
	proxy.DelayReplies(time.Millisecond) // some callers wait less
	opts.Prefix = luatest.Prefix(t)
	store, err := lua.New(recommended(t, "redis://"+proxy.Addr(), pool), opts)
	if err != nil {
		t.Fatal(err)
	}
	healthy := newStore(t, server.Client(t), opts.Prefix)
	var wg sync.WaitGroup
	var replies, ends atomic.Int64
	stop := time.Now().Add(*soak)
	patience := [2]time.Duration{4 * time.Millisecond, 60 * time.Millisecond}
	for worker := range int64(64) {
		set := lua.NewLimitSet(lua.LimitSpec{Name: "n", Algorithm: 'w', Quota: 1000 + worker, Window: time.Hour})
		call := lua.LimitCall{Set: set, Tag: lua.MakeTag("soak", fmt.Sprint(worker)), Cost: 1}
		before, err := healthy.LimitTake(t.Context(), call)
		if err != nil {
			t.Fatal(err)
		}
		stamp := before.Stamp(0)
		wg.Go(func() {
			for time.Now().Before(stop) && !t.Failed() {
				ctx, cancel := context.WithTimeout(context.Background(), rand.N(patience[rand.N(2)]))
				switch rand.N(3) {
				case 0:
					reply, err := store.LimitPeek(ctx, call)
					count(t, err, &replies, &ends)
					if err == nil && (reply.Remaining(0) != 999+worker || reply.Stamp(0) != 0) {
						t.Errorf("caller %d: %v, want %d remaining: another call's reply", worker, reply, 999+worker)
					}
				case 1:
					given, err := store.LimitRefund(ctx, call, []int64{stamp + 1}) // names nothing
					count(t, err, &replies, &ends)
					if err == nil && (len(given) != 1 || given[0] != 0) {
						t.Errorf("caller %d: %v permits given back: another call's reply", worker, given)
					}
				case 2:
					many, errs := store.LimitTakeMany(ctx, []lua.LimitCall{{Set: set, Tag: call.Tag, Cost: 1000 + worker}, {Set: set, Tag: call.Tag, Cost: 1000 + worker}})
					for i, reply := range many {
						count(t, errs[i], &replies, &ends)
						if errs[i] == nil && (reply.Remaining(0) != 999+worker || reply.Verdict() != lua.Denied) {
							t.Errorf("caller %d: %v, want denied and %d remaining: another call's reply", worker, reply, 999+worker)
						}
					}
				}
				cancel()
			}
		})
	}
	wg.Wait()
	t.Logf("%d replies, %d calls without", replies.Load(), ends.Load())
	if replies.Load() == 0 || ends.Load() == 0 {
		t.Errorf("%d replies, %d calls without: none of one kind proves nothing", replies.Load(), ends.Load())
	}
}

func count(t *testing.T, err error, replies, ends *atomic.Int64) {
	switch is(err) {
	case "done":
		replies.Add(1)
	case "unknown", "unavailable":
		ends.Add(1)
	default:
		t.Errorf("%v: another call's reply", err)
	}
}
