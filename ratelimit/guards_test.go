package ratelimit_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/limittest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/lua"
)

// bucketsTrace runs a random trace of one or two SlidingBuckets limits. It dwells on what
// the rules of lua/parts/buckets.lua are about: the edges of sub-windows, refunds of the
// last permit, quotas that fall, steps of the clock.
func bucketsTrace(tb limittest.TB, client redis.UniversalClient, prefix string, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 3))
	windows := []time.Duration{time.Millisecond, 1003 * time.Microsecond, time.Second, 999_983 * time.Microsecond, time.Minute, 400 * 24 * time.Hour}
	window := windows[random.IntN(len(windows))]
	span := (window.Microseconds() + 15) / 16
	drawQuota := func() int64 { return 1 + random.Int64N([]int64{5, 30, 1e3, 1e9}[random.IntN(4)]) }
	limits := []store.LimitSpec{{Name: "n", Algorithm: 'b', Quota: drawQuota(), Window: window}}
	if random.IntN(2) == 0 { // two limits take the general path
		limits = append(limits, store.LimitSpec{Name: "m", Algorithm: 'b', Quota: drawQuota(), Window: window})
	}
	w := limittest.NewWorld(tb, client, prefix, 1_790_000_000_000_000+random.Int64N(20000), limits...)
	steady := random.IntN(2) == 0
	for range 120 {
		most := w.Limits()[0].Quota
		for _, l := range w.Limits() {
			most = min(most, l.Quota)
		}
		switch n := random.IntN(21); {
		case n < 9:
			if steady || random.IntN(4) > 0 {
				w.Advance(1 + random.Int64N(20))
			}
			cost := int64(1)
			if random.IntN(3) > 0 {
				cost += random.Int64N(min(most, 1+most/int64(1+random.IntN(20))))
			}
			w.Take(cost, "", false)
		case n < 11:
			w.Advance(1 + random.Int64N(3*span))
		case n < 13:
			w.Advance(1 + random.Int64N(20*span))
		case n < 14:
			w.Peek(1)
		case n < 17:
			if all := w.Decisions(); len(all) > 0 {
				w.Refund(all[len(all)-1-random.IntN(min(len(all), 10))])
			}
		case n < 18:
			w.SetQuota(random.IntN(len(limits)), drawQuota())
		case n < 19:
			if random.IntN(10) == 0 {
				w.Reset()
			}
		case !steady:
			d := 1 + random.Int64N([]int64{10, span, 3 * span, 40 * span}[random.IntN(4)])
			if random.IntN(3) > 0 {
				d = -d
			}
			w.Step(d)
		}
	}
}

// oneTrace runs the random trace of a seed.
type oneTrace func(tb limittest.TB, client redis.UniversalClient, prefix string, seed uint64)

// catcher is a [limittest.TB] whose Fatalf ends the trace and not the test.
type catcher struct{ *testing.T }

type caught string

func (c catcher) Fatalf(format string, args ...any) { panic(caught(fmt.Sprintf(format, args...))) }

// firstDifference runs traces until one fails, and returns the first line of the failure.
func firstDifference(t *testing.T, client redis.UniversalClient, traces uint64, run oneTrace) (difference string) {
	defer func() {
		if r := recover(); r != nil {
			text, ok := r.(caught)
			if !ok {
				panic(r)
			}
			difference, _, _ = strings.Cut(string(text), "\n")
		}
	}()
	prefix := redistest.Prefix(t)
	for seed := range traces {
		run(catcher{t}, client, prefix, seed)
	}
	return ""
}

// altered is a hook that sends another text in the place of a script.
type altered struct{ sha, text string }

func (h altered) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h altered) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h altered) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if words := cmd.Args(); words[0] == "evalsha" && fmt.Sprint(words[1]) == h.sha {
			words[0], words[1] = "eval", h.text
		}
		return next(ctx, cmd)
	}
}

// alteredClient returns a client of the server that sends a script with another piece in
// the place of one.
func alteredClient(t *testing.T, server *redistest.Server, name, old, piece string) redis.UniversalClient {
	t.Helper()
	script := lua.Find(name)
	if n := strings.Count(script.Text, old); n != 1 {
		t.Fatalf("%s has %q %d times, want 1", name, old, n)
	}
	client := redistest.NewClient(t, server.Addrs()[0])
	client.AddHook(altered{script.SHA1, strings.Replace(script.Text, old, piece, 1)})
	return client
}

// TestBucketsGuards takes each guard out of the scripts of SlidingBuckets, and looks
// whether the oracle notices. A guard that it does not miss is one that nobody needs, or
// that no trace reaches.
func TestBucketsGuards(t *testing.T) {
	redistest.Long(t)
	server := redistest.Single(t)
	if difference := firstDifference(t, server.Client(t), 20, bucketsTrace); difference != "" {
		t.Fatalf("with all guards: %s", difference)
	}
	for _, c := range []struct{ name, script, old, without string }{
		{"fast: a bucket counts one too short", "limit_take", "local edge = index - parts\n", "local edge = index - parts + 1\n"},
		{"fast: a bucket counts one too long", "limit_take", "local edge = index - parts\n", "local edge = index - parts - 1\n"},
		{"fast: the oldest stays when it goes", "limit_take", "if newer == '' then first = newest end", ""},
		{"fast: the oldest of an empty count", "limit_take", "first = index\n", "first = first\n"},
		{"fast: a newest bucket ahead of the clock", "limit_take", "if opens or index == newest then", "if true then"},
		{"fast: the wait of the oldest, whatever must go", "limit_take", "if remaining == -1 then return {0, cost - 1,", "if remaining < 0 then return {0, math.max(quota - live, 0),"},
		{"fast: a new bucket keeps the expiry", "limit_take", "'PX', format('%.0f', math.ceil(span * (parts + 2) / 1000) + 1000))", "'KEEPTTL')"},
		{"fast: an expiry of one window", "limit_take", "format('%.0f', math.ceil(span * (parts + 2) / 1000) + 1000)", "format('%.0f', math.ceil(span * parts / 1000))"},
		{"no repair", "limit_take", "  buckets.repair(limit)\n", ""},
		{"a repair keeps the generation", "limit_take", "  limit.generation = limit.generation + 1\n", ""},
		{"fast: a charge of the same bucket drops the expiry", "limit_take", "oldest, tail),\n          'KEEPTTL')", "oldest, tail))"},
		{"a peek repairs", "limit_peek", "if not limit.peek then buckets.save(limit, 'PX', buckets.ttl(limit)) end", "buckets.save(limit, 'PX', buckets.ttl(limit))"},
		{"a bucket counts one too short", "limit_peek", "local edge = limit.index - parts\n", "local edge = limit.index - parts + 1\n"},
		{"a bucket counts one too long", "limit_peek", "local edge = limit.index - parts\n", "local edge = limit.index - parts - 1\n"},
		{"the oldest stays when it goes", "limit_take", "if newer == '' then limit.oldest = limit.top end", ""},
		{"the oldest of an empty count", "limit_take", "if limit.live == 0 then limit.oldest = limit.top end", ""},
		{"the wait of the oldest, whatever must go", "limit_peek", "if excess > 1 then", "if false then"},
		{"an empty newest bucket is listed", "limit_take", "    if limit.held > 0 then\n      limit.tail", "    if true then\n      limit.tail"},
		{"a new bucket keeps the expiry", "limit_take", "if opens then\n    buckets.save(limit, 'PX', buckets.ttl(limit))", "if opens then\n    buckets.save(limit, 'KEEPTTL')"},
		{"a charge of the same bucket drops the expiry", "limit_take", "else\n    buckets.save(limit, 'KEEPTTL')", "else\n    buckets.save(limit)"},
		{"a refund of any generation", "limit_refund", "if limit.generation % 256 ~= limit.stamp % 256 then return 0 end", ""},
		{"a refund to a bucket that is gone", "limit_refund", "if bucket < math.floor(now / span(limit)) - parts then return 0 end", ""},
		{"a refund leaves empty buckets", "limit_refund", "if permits > 0 then", "if true then"},
		{"a refund leaves an empty string", "limit_refund", "if limit.held == 0 and limit.generation == 0 then", "if false then"},
		{"a refund drops the generation", "limit_refund", "if limit.held == 0 and limit.generation == 0 then", "if limit.held == 0 then"},
		{"a refund drops the expiry", "limit_refund", "call('DEL', limit.key)\n      else\n        buckets.save(limit, 'KEEPTTL')", "call('DEL', limit.key)\n      else\n        buckets.save(limit)"},
		{"a reset keeps the generation", "limit_reset", "0 0 0 0', generation + 1)", "0 0 0 0', generation + 0)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			difference := firstDifference(t, alteredClient(t, server, c.script, c.old, c.without), 300, bucketsTrace)
			if difference == "" {
				t.Error("300 traces without the guard show no difference")
			}
			t.Logf("%.130s", difference)
		})
	}
}
