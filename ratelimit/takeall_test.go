package ratelimit_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

func requests(policies ...*ratelimit.Policy) (reqs []ratelimit.Request) {
	for _, p := range policies {
		reqs = append(reqs, ratelimit.Request{Policy: p, Key: "k", Cost: 1})
	}
	return reqs
}

func TestTakeAll(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		limiter := gateLimiter(t, s, ratelimit.Options{})
		wide, one, hour := ratelimit.MustPolicy("wide", ratelimit.PerHour(9)), ratelimit.MustPolicy("one", ratelimit.PerMinute(1)), ratelimit.MustPolicy("hour", ratelimit.PerHour(1))
		reqs := requests(wide, one, hour)
		for i := range 3 {
			ds, err := limiter.TakeAll(t.Context(), reqs)
			if err != nil || len(ds) != 3 {
				t.Fatal(ds, err)
			}
			passes, longest := i == 0, time.Duration(0)
			for _, d := range ds {
				longest = max(longest, d.RetryAfter)
				if d.Spent != passes || d.Policy() == wide && !d.Allowed {
					t.Errorf("call %d: %+v", i, d)
				}
			}
			if onCluster := s.Name() == "cluster"; !passes && !onCluster && (longest <= 59*time.Minute || ds[1].Allowed || ds[2].Allowed) {
				t.Errorf("call %d: retry after %v, want that of the hour", i, longest)
			}
			if n, err := limiter.RefundMany(t.Context(), ds); !passes && (n != 0 || err != nil) {
				t.Errorf("the refund of what was not spent gave back %d, %v", n, err)
			} else if passes { // so that the next call is denied
				if _, err := limiter.TakeAll(t.Context(), reqs); err != nil || n != 3 {
					t.Fatal(n, err)
				}
			}
		}
		wantLeft(t, limiter, wide, "k", 8)
	})
}

// TestTakeAllOfOneKey: two requests for one key cannot both have its last permit.
func TestTakeAllOfOneKey(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		limiter := gateLimiter(t, s, ratelimit.Options{})
		one, two := ratelimit.MustPolicy("one", ratelimit.PerHour(1)), ratelimit.MustPolicy("two", ratelimit.PerHour(2))
		ds, err := limiter.TakeAll(t.Context(), requests(one, one))
		if err != nil || !ds[0].Allowed || ds[0].Spent || !ds[0].GivenBack || ds[1].Allowed {
			t.Errorf("one permit: %+v, %v", ds, err)
		}
		wantLeft(t, limiter, one, "k", 1)
		if ds, err := limiter.TakeAll(t.Context(), requests(two, two)); err != nil || !ds[0].Spent || !ds[1].Spent {
			t.Errorf("two permits: %+v, %v", ds, err)
		}
		wantLeft(t, limiter, two, "k", 0)
	})
}

func TestTakeAllOfAnotherCost(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		limiter := gateLimiter(t, s, ratelimit.Options{})
		log := ratelimit.MustPolicy("log", ratelimit.Limit{Quota: 9, Window: time.Hour, Algorithm: ratelimit.SlidingLog})
		wide := ratelimit.MustPolicy("wide", ratelimit.PerHour(9))
		reqs := requests(log, wide)
		reqs[0].CallID = "id"
		for range 2 {
			if ds, err := limiter.TakeAll(t.Context(), reqs); err != nil || !ds[0].Spent || !ds[1].Spent {
				t.Fatal(ds, err)
			}
		}
		reqs[0].Cost = 2
		ds, err := limiter.TakeAll(t.Context(), reqs)
		if !errors.Is(err, ratelimit.ErrOtherCost) || len(ds) != 2 || ds[0].Policy() != nil || !ds[1].Allowed || ds[1].Spent {
			t.Errorf("another cost: %+v, %v", ds, err)
		}
		wantLeft(t, limiter, log, "k", 8)
		wantLeft(t, limiter, wide, "k", 7)
	})
}

// TestCosts: each limit spends its own cost, and gives it back.
func TestCosts(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		limiter := gateLimiter(t, s, ratelimit.Options{})
		p := ratelimit.MustPolicy("model", ratelimit.PerMinute(3), ratelimit.PerHour(100),
			ratelimit.Limit{Name: "tokens", Quota: 2000, Window: time.Minute, Algorithm: ratelimit.SlidingBuckets})
		req := ratelimit.Request{Policy: p, Key: "k", Costs: []int64{1, 0, 900}}
		left := func(d ratelimit.Decision) [3]int64 {
			return [3]int64{d.Limits[0].Remaining, d.Limits[1].Remaining, d.Limits[2].Remaining}
		}
		d, err := limiter.Do(t.Context(), req)
		if err != nil || !d.Spent || left(d) != [3]int64{2, 100, 1100} {
			t.Errorf("Do: %+v, %v", d, err)
		}
		if n, err := limiter.Refund(t.Context(), d); n != 2 || err != nil {
			t.Errorf("Refund: %d, %v, want 2 limits", n, err)
		}
		other := ratelimit.Request{Policy: p, Key: "other", Costs: []int64{1, 2, 3}}
		for name, take := range map[string]func(context.Context, []ratelimit.Request) ([]ratelimit.Decision, error){
			"TakeMany": limiter.TakeMany, "TakeAll": limiter.TakeAll,
		} {
			ds, err := take(t.Context(), []ratelimit.Request{req, other})
			if err != nil || !ds[0].Spent || !ds[1].Spent || left(ds[0]) != [3]int64{2, 100, 1100} || left(ds[1]) != [3]int64{2, 98, 1997} {
				t.Errorf("%s: %+v, %v", name, ds, err)
			}
			if n, err := limiter.RefundMany(t.Context(), ds); n != 5 || err != nil {
				t.Errorf("%s: refund: %d, %v, want 5 limits", name, n, err)
			}
		}
		if d, err := limiter.Do(t.Context(), ratelimit.Request{Policy: p, Key: "k", Costs: []int64{1, 1, 2001}}); err != nil || d.RetryAfter != ratelimit.Never || d.Limits[0].RetryAfter != 0 {
			t.Errorf("above a quota: %+v, %v", d, err)
		}
	})
}

func TestWrongTakeAll(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	p := ratelimit.MustPolicy("p", ratelimit.PerHour(9), ratelimit.Limit{Name: "log", Quota: 9, Window: time.Hour, Algorithm: ratelimit.SlidingLog})
	var limits []ratelimit.Limit
	for n := range 8 {
		limits = append(limits, ratelimit.Per(9, time.Duration(n+1)*time.Hour))
	}
	many := ratelimit.MustPolicy("many", limits...)
	for _, c := range []struct {
		name string
		reqs []ratelimit.Request
		want string
	}{
		{"too few costs", []ratelimit.Request{{Policy: p, Key: "k", Costs: []int64{1}}}, "1 Costs: want one for each of the 2 limits"},
		{"cost and costs", []ratelimit.Request{{Policy: p, Key: "k", Cost: 1, Costs: []int64{1, 2}}}, "both Cost and Costs"},
		{"nothing of a log", []ratelimit.Request{{Policy: p, Key: "k", Costs: []int64{1, 0}}}, `limit "log": cost 0: want 1 to 100`},
		{"less than nothing", []ratelimit.Request{{Policy: p, Key: "k", Costs: []int64{-1, 1}}}, "cost -1: want 0 to"},
		{"one wrong", append(requests(many), ratelimit.Request{Policy: many, Cost: 1}), "request 1: policy \"many\": key is empty"},
		{"40 limits", requests(many, many, many, many, many), "40 limits are decided together: want at most 32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := limiter.TakeAll(t.Context(), c.reqs); err == nil || !strings.HasPrefix(err.Error(), "ratelimit: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := limiter.TakeAll(ended, requests(many, p)); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended: %v", err)
	}
	wantLeft(t, limiter, many, "k", 9)
}

// TestTakeAllWithoutRedis: the shares of an outage are spent all or nothing, too.
func TestTakeAllWithoutRedis(t *testing.T) {
	limiter, err := ratelimit.New(kvtest.Open(t, redistest.NewClient(t, "127.0.0.1:1"), gatekit.Options{}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	local, other, tight := ratelimit.MustPolicy("local", ratelimit.PerHour(2)), ratelimit.MustPolicy("other", ratelimit.PerHour(9)), ratelimit.MustPolicy("tight", ratelimit.PerHour(1))
	closed, open := ratelimit.MustPolicy("closed", ratelimit.PerHour(9)).OnFailure(ratelimit.FailClosed), ratelimit.MustPolicy("open", ratelimit.PerHour(9)).OnFailure(ratelimit.FailOpen)
	for i, c := range []struct {
		policies       []*ratelimit.Policy
		allowed, spent string
	}{
		{[]*ratelimit.Policy{local, closed}, "yn", "nn"},
		{[]*ratelimit.Policy{local, open, closed}, "yyn", "nnn"},
		{[]*ratelimit.Policy{local, tight, open}, "yyy", "yyy"},
		{[]*ratelimit.Policy{local, tight, open}, "yny", "nnn"},
		{[]*ratelimit.Policy{local, other}, "yy", "yy"}, // nothing of the three denials was kept
		{[]*ratelimit.Policy{other, local}, "yn", "nn"},
	} {
		ds, err := limiter.TakeAll(t.Context(), requests(c.policies...))
		if err != nil {
			t.Fatal(err)
		}
		for n, d := range ds {
			if d.Degraded == nil || d.Allowed != (c.allowed[n] == 'y') || d.Spent != (c.spent[n] == 'y') {
				t.Errorf("call %d, %s: %+v", i, d.Policy().Name(), d)
			}
		}
	}
}

// crossSlot answers scripts with several hash tags as a server of a cluster does.
type crossSlot struct{ asked int }

func (*crossSlot) DialHook(next redis.DialHook) redis.DialHook { return next }
func (*crossSlot) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (h *crossSlot) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if keys, ok := cmd.Args()[min(2, len(cmd.Args())-1)].(int); cmd.Name() == "evalsha" && ok && keys > 1 {
			h.asked++
			err := redis.NewStringCmd(ctx, "x")
			err.SetErr(redisError("CROSSSLOT Keys in request don't hash to the same slot"))
			cmd.SetErr(err.Err())
			return err.Err()
		}
		return next(ctx, cmd)
	}
}

type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

// TestTakeAllMeetsACluster: the first answer CROSSSLOT is no outage, and the last one.
func TestTakeAllMeetsACluster(t *testing.T) {
	client, hook := redistest.Single(t).Client(t), &crossSlot{}
	client.AddHook(hook)
	seen := &decided{}
	limiter, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second, NoAutoPipeline: true}), ratelimit.Options{Observer: seen})
	if err != nil {
		t.Fatal(err)
	}
	a, b := ratelimit.MustPolicy("a", ratelimit.PerHour(1)), ratelimit.MustPolicy("b", ratelimit.PerHour(9))
	for i := range 3 {
		ds, err := limiter.TakeAll(t.Context(), requests(a, b))
		if err != nil || ds[0].Degraded != nil || ds[1].Degraded != nil || ds[0].Spent != (i == 0) || ds[1].Spent != (i == 0) {
			t.Errorf("call %d: %+v, %v", i, ds, err)
		}
	}
	if hook.asked != 1 || len(seen.ds) != 6 {
		t.Errorf("%d calls were answered CROSSSLOT, the observer saw %d decisions; want 1 and 6", hook.asked, len(seen.ds))
	}
	wantLeft(t, limiter, b, "k", 8)
}
