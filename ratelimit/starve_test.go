package ratelimit_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// TestStarvation: clients whose address is used up go on asking with a victim's API key.
// They must not keep the victim from the key's permits, not even for a moment. The victim
// asks as often as the key has permits in an hour, so one permit that somebody else holds
// at the wrong moment is one denial, however fast the machine is. If the attackers get
// permits of their own meanwhile, as many denials are explained.
func TestStarvation(t *testing.T) {
	redistest.Long(t)
	for _, server := range []*redistest.Server{redistest.NewSingle(t), redistest.NewCluster(t)} {
		for _, attackers := range []int{8, 32, 100} {
			t.Run(fmt.Sprintf("%s/%d", server.Name(), attackers), func(t *testing.T) { starve(t, server, attackers, ratelimit.PerHour(10)) })
		}
	}
	single := redistest.NewSingle(t)
	t.Run("single/with permits of their own", func(t *testing.T) { starve(t, single, 32, ratelimit.PerSecond(10)) })
}

func starve(t *testing.T, server *redistest.Server, attackers int, address ratelimit.Limit) {
	const asks = 100
	limiter := gateLimiter(t, server, ratelimit.Options{})
	perKey := ratelimit.MustPolicy("key", ratelimit.PerHour(asks+address.Quota))
	ask := func(perIP *ratelimit.Policy, ip string) (passed bool) {
		ds, err := limiter.TakeAll(t.Context(), []ratelimit.Request{
			{Policy: perIP, Key: ip, Cost: 1}, {Policy: perKey, Key: "victim's", Cost: 1},
		})
		if err != nil || ds[0].Degraded != nil || ds[1].Degraded != nil {
			t.Errorf("%v, %+v", err, ds)
			return true
		}
		return ds[0].Allowed && ds[1].Allowed
	}
	narrow, wide := ratelimit.MustPolicy("ip", address), ratelimit.MustPolicy("wide", ratelimit.PerHour(4000))
	var own, asked atomic.Int64 // what the attackers were let through, and how often they asked
	for ask(narrow, "attacker") {
		own.Add(1)
	}
	ended := make(chan struct{})
	var under sync.WaitGroup
	for range attackers {
		under.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				if asked.Add(1); ask(narrow, "attacker") {
					own.Add(1)
				}
			}
		})
	}
	denied := int64(0)
	for range asks {
		for before := asked.Load(); asked.Load() == before && !t.Failed(); { // the attackers keep asking
		}
		if !ask(wide, "victim") {
			denied++
		}
	}
	close(ended)
	under.Wait()
	explained := max(own.Load()-address.Quota, 0)
	if denied > explained {
		t.Errorf("the victim was denied %d times of %d; the attackers' own permits explain %d", denied, asks, explained)
	}
	t.Logf("%d attackers asked %d times and were let through %d times; the victim was denied %d times of %d", attackers, asked.Load(), own.Load(), denied, asks)
}
