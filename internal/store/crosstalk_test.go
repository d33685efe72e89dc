package store_test

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

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

var soak = flag.Duration("soak", time.Second, "how long TestNoCrossTalk runs, each form of it")

// TestNoCrossTalk: 64 callers share 8 connections and give up at random instants, so that
// replies arrive for which no caller waits. None may reach another call. A call
// recognizes its own reply by what remains of a limit that only its caller has.
//
// The callers' patience is adapted to the machine, so that there are calls of both kinds:
// some get their reply, some give up before it comes.
func TestNoCrossTalk(t *testing.T) {
	redistest.Long(t)
	for _, c := range []struct {
		name string
		opts store.Options
		pool func(*redis.UniversalOptions)
	}{
		{"alone", store.Options{NoAutoPipeline: true}, eight},
		{"pipelines above 4", store.Options{}, eight},
	} {
		t.Run(c.name, func(t *testing.T) { crossTalk(t, c.opts, c.pool) })
	}
}

// eight connections, and no patience but the caller's ends a call.
func eight(o *redis.UniversalOptions) {
	o.PoolSize = 8
	o.DialTimeout, o.PoolTimeout = time.Minute, time.Minute
	o.ReadTimeout, o.WriteTimeout = time.Minute, time.Minute
}

// patience is how long callers wait: at random, and so that about half of the calls end
// in time.
type patience struct{ atomic.Int64 }

func (p *patience) draw() time.Duration {
	return rand.N(2 * time.Duration(max(p.Load(), int64(time.Millisecond))))
}

// heard makes the callers a little less patient after a reply, and more after none.
func (p *patience) heard(reply bool) {
	now := p.Load()
	if reply {
		p.CompareAndSwap(now, now-now/64)
	} else {
		p.CompareAndSwap(now, now+now/64)
	}
}

func crossTalk(t *testing.T, opts store.Options, pool func(*redis.UniversalOptions)) {
	server := redistest.NewSingle(t)
	proxy := redistest.NewProxy(t, server.Addrs()[0])
	proxy.DelayReplies(time.Millisecond) // some callers wait less
	opts.Prefix, opts.Budget = redistest.Prefix(t), 10*time.Second
	kv, err := store.New(recommended(t, "redis://"+proxy.Addr(), pool), opts)
	if err != nil {
		t.Fatal(err)
	}
	healthy := newStore(t, server.Client(t), opts.Prefix)
	var wg sync.WaitGroup
	var replies, ends atomic.Int64
	var patience patience
	patience.Store(int64(8 * time.Millisecond))
	const enough = 200 // calls of either kind
	soaked, giveUp := time.Now().Add(*soak), time.Now().Add(*soak+time.Minute)
	goOn := func() bool {
		now := time.Now()
		few := replies.Load() < enough || ends.Load() < enough
		return !t.Failed() && (now.Before(soaked) || few && now.Before(giveUp))
	}
	for worker := range int64(64) {
		set := store.NewLimitSet(store.LimitSpec{Name: "n", Algorithm: 'w', Quota: 1000 + worker, Window: time.Hour})
		call := store.LimitCall{Set: set, Tag: store.MakeTag("soak", fmt.Sprint(worker)), Cost: 1}
		before, err := healthy.LimitTake(t.Context(), call)
		if err != nil {
			t.Fatal(err)
		}
		stamp := before.Stamp(0)
		wg.Go(func() {
			for goOn() {
				ctx, cancel := context.WithTimeout(context.Background(), patience.draw())
				switch rand.N(3) {
				case 0:
					reply, err := kv.LimitPeek(ctx, call)
					patience.heard(count(t, err, &replies, &ends))
					if err == nil && (reply.Remaining(0) != 999+worker || reply.Stamp(0) != 0) {
						t.Errorf("caller %d: %v, want %d remaining: another call's reply", worker, reply, 999+worker)
					}
				case 1:
					given, err := kv.LimitRefund(ctx, call, []int64{stamp + 1}) // names nothing
					patience.heard(count(t, err, &replies, &ends))
					if err == nil && (len(given) != 1 || given[0] != 0) {
						t.Errorf("caller %d: %v permits given back: another call's reply", worker, given)
					}
				case 2:
					many, errs := kv.LimitTakeMany(ctx, []store.LimitCall{{Set: set, Tag: call.Tag, Cost: 1000 + worker}, {Set: set, Tag: call.Tag, Cost: 1000 + worker}})
					for i, reply := range many {
						patience.heard(count(t, errs[i], &replies, &ends))
						if errs[i] == nil && (reply.Remaining(0) != 999+worker || reply.Verdict() != store.Denied) {
							t.Errorf("caller %d: %v, want denied and %d remaining: another call's reply", worker, reply, 999+worker)
						}
					}
				}
				cancel()
			}
		})
	}
	wg.Wait()
	t.Logf("%d replies, %d calls without, callers wait for %v", replies.Load(), ends.Load(), time.Duration(patience.Load()))
	if replies.Load() < enough || ends.Load() < enough {
		t.Errorf("%d replies, %d calls without: too few of one kind prove nothing", replies.Load(), ends.Load())
	}
}

// count reports whether the call got its reply.
func count(t *testing.T, err error, replies, ends *atomic.Int64) (reply bool) {
	switch is(err) {
	case "done":
		replies.Add(1)
		return true
	case "unknown", "unavailable", "hurried":
		ends.Add(1)
	default:
		t.Errorf("%v: another call's reply", err)
	}
	return false
}
