package ratelimit_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// moody is a hook of a client. The test sets whether calls pass, fail or panic.
type moody struct{ mood, panics atomic.Int64 }

const (
	well = iota
	away
	panics
)

func (m *moody) call() error {
	switch m.mood.Load() {
	case away:
		return errors.New("away")
	case panics:
		m.panics.Add(1)
		panic("a hook")
	}
	return nil
}

func (m *moody) DialHook(next redis.DialHook) redis.DialHook { return next }

func (m *moody) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := m.call(); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (m *moody) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := m.call(); err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
			return err
		}
		return next(ctx, cmds)
	}
}

// TestPanicWhileRedisIsAway: after a panic in a call or in a probe the limiter still asks
// again. The program could not recover a panic in a probe.
func TestPanicWhileRedisIsAway(t *testing.T) {
	policy := ratelimit.MustPolicy("api", ratelimit.PerHour(1000))
	for _, c := range []struct {
		name string
		call func(ctx context.Context, l *ratelimit.Limiter, d ratelimit.Decision)
	}{
		{"Take", func(ctx context.Context, l *ratelimit.Limiter, _ ratelimit.Decision) {
			_, _ = l.Take(ctx, policy, "key")
		}},
		{"TakeMany", func(ctx context.Context, l *ratelimit.Limiter, _ ratelimit.Decision) {
			_, _ = l.TakeMany(ctx, []ratelimit.Request{{Policy: policy, Key: "key", Cost: 1}})
		}},
		{"Peek", func(ctx context.Context, l *ratelimit.Limiter, _ ratelimit.Decision) {
			_, _ = l.Peek(ctx, policy, "key")
		}},
		{"Refund", func(ctx context.Context, l *ratelimit.Limiter, d ratelimit.Decision) { _, _ = l.Refund(ctx, d) }},
		{"RefundMany", func(ctx context.Context, l *ratelimit.Limiter, d ratelimit.Decision) {
			_, _ = l.RefundMany(ctx, []ratelimit.Decision{d})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client, hook := redistest.Embedded(t).Client(t), &moody{}
			client.AddHook(hook)
			limiter, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: 2 * time.Second}), ratelimit.Options{})
			if err != nil {
				t.Fatal(err)
			}
			spent, err := limiter.Take(t.Context(), policy, "key")
			if err != nil || spent.Degraded != nil {
				t.Fatal(err, spent.Degraded)
			}
			hook.mood.Store(away)
			for range 20 {
				_, _ = limiter.Take(t.Context(), policy, "key")
			}
			hook.mood.Store(panics)
			if !eventually(func() bool {
				defer func() { _ = recover() }()
				c.call(t.Context(), limiter, spent)
				return hook.panics.Load() > 0
			}) {
				t.Fatal("nothing panicked within 20 s")
			}
			hook.mood.Store(well)
			var last error
			if !eventually(func() bool {
				d, err := limiter.Take(t.Context(), policy, "key")
				last = errors.Join(err, d.Degraded)
				return last == nil
			}) {
				t.Errorf("20 s after the panic: %v", last)
			}
		})
	}
}

// eventually calls f until it returns true, for 20 s.
func eventually(f func() bool) bool {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if f() {
			return true
		}
	}
	return false
}
