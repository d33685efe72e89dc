package ratelimit_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/limittest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// settleTrace runs a random trace of settlements. It dwells on what the rules of
// lua/limit_settle.lua are about: debts among live permits, debts of calls that were
// admitted long ago or twice, repeats, steps of the clock.
func settleTrace(tb limittest.TB, client redis.UniversalClient, prefix string, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 4))
	var limits []store.LimitSpec
	for i, letter := range []byte([]string{"w", "l", "wl", "ll"}[random.IntN(4)]) {
		window := []time.Duration{time.Millisecond, 8 * time.Millisecond, time.Second}[random.IntN(3)]
		limits = append(limits, store.LimitSpec{Name: fmt.Sprint("n", i), Algorithm: letter, Quota: 3 + random.Int64N(5), Window: window})
	}
	w := limittest.NewWorld(tb, client, prefix, 1_790_000_000_000_000+random.Int64N(20000), limits...)
	window := limits[0].Window.Microseconds()
	for step := range 120 {
		if random.IntN(4) > 0 {
			w.Advance(1 + random.Int64N(20))
		}
		all := w.Decisions()
		recent := func() *limittest.Decision { return all[len(all)-1-random.IntN(min(len(all), 6))] }
		switch n := random.IntN(20); {
		case n < 8:
			if name, once := fmt.Sprint("call", random.IntN(6)), random.IntN(3) == 0; once {
				w.Take(1+random.Int64N(3), fmt.Sprint("once", step), false)
			} else { // also at another cost
				w.Take(1+random.Int64N(3), name, true)
			}
		case n < 13 && len(all) > 0:
			actual := make([]int64, len(limits))
			for i := range actual {
				actual[i] = random.Int64N(6)
			}
			w.Settle(recent(), actual)
		case n < 15 && len(all) > 0:
			w.Refund(recent())
		case n < 17:
			w.Advance(1 + random.Int64N(window))
		case n < 18:
			w.Advance(1 + random.Int64N(3*window))
		default:
			w.Step(-1 - random.Int64N([]int64{3, window, 3 * window}[random.IntN(3)]))
		}
	}
}

// TestSettleGuards takes each guard out of the scripts that settle and remember it, and
// looks whether the oracle notices.
func TestSettleGuards(t *testing.T) {
	redistest.Long(t)
	server := redistest.Single(t)
	if difference := firstDifference(t, server.Client(t), 100, settleTrace); difference != "" {
		t.Fatalf("with all guards: %s", difference)
	}
	for _, c := range []struct{ name, script, old, without string }{
		{"a debt has no repair", "limit_settle", "    window.repair(limit)\n", ""},
		{"a debt is not after the newest", "limit_settle", "    window.repair(limit)\n", "    window.repair(limit)\n    limit.newest = math.min(limit.newest, now - 1)\n"},
		{"a debt cuts the list to a quota", "limit_settle", "  window.spend(limit)\nend", "  window.spend(limit)\n  call('LTRIM', limit.key, '-3', '-1')\nend"},
		{"a debt is dated at the take", "limit_settle", "  limit.cost = math.min(limit.cost, listed)\n",
			"  limit.newest = nil\n  now = math.max(limit.stamp % era, 1)\n  limit.cost = math.min(limit.cost, listed)\n"},
		{"a debt of a log has no repair", "limit_settle", "  if limit.newest then log.repair(limit) end\n  local stamp", "  local stamp"},
		{"a debt bears the name of its call", "limit_settle", "  limit.call = format('%s#%.0f#%.0f', limit.call, limit.stamp, stamp)\n", ""},
		{"a debt is named by its own stamp", "limit_settle", "'%s#%.0f#%.0f', limit.call, limit.stamp, stamp", "'%s#%.0f', limit.call, stamp"},
		{"a debt is named by the stamp of the take", "limit_settle", "'%s#%.0f#%.0f', limit.call, limit.stamp, stamp", "'%s#%.0f', limit.call, limit.stamp"},
		{"a debt is not booked", "limit_settle", "    owe[limit.letter](limit)\n", ""},
		{"what was used is given back too", "limit_settle", "cost = math.max(cost - actual, actual - cost)", "cost = math.max(cost, actual - cost)"},
		{"the first permits of a call go", "limit_settle", "for i = limit.actual + 1, limit.actual + limit.cost do", "for i = 1, limit.cost do"},
		{"permits of a later admission go", "limit_settle",
			"  if not stamp or stamp + 0 ~= limit.stamp then return 0 end\n  if limit.stamp <= now - limit.window then return 0 end\n  local named = {}\n  for i = limit.actual", "  local named = {}\n  for i = limit.actual"},
		{"a settled call is not remembered", "limit_settle", "  call('ZADD', KEYS[n + 1], int(admitted), name)\n", ""},
		{"the mark of a dead admission is written", "limit_settle", "if KEYS[n + 1] and admitted > now - longest then", "if KEYS[n + 1] then"},
		{"a call is settled twice", "limit_settle", "  if settled and settled + 0 > now - longest then\n", "  if false then\n"},
		{"a settled call is refunded", "limit_refund", "  if settled and settled + 0 > now - longest then return reply end\n", ""},
		{"a settled call has another cost", "limit_take_once", "if refunded and refunded + 0 > now - longest then\n  status = 2\nelseif odd then\n  status = 3\n",
			"if odd then\n  status = 3\nelseif refunded and refunded + 0 > now - longest then\n  status = 2\n"},
		{"a later admission keeps the mark", "limit_take_once", "if refunded and status == 1 then call('ZREM', KEYS[n + 1], name) end", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			difference := firstDifference(t, alteredClient(t, server, c.script, c.old, c.without), 1500, settleTrace)
			if difference == "" {
				t.Error("1500 traces without the guard show no difference")
			}
			t.Logf("%.130s", difference)
		})
	}
}
