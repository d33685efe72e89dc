package dropin_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/dropin"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/go-redis/redis_rate/v10"
)

// rateLimiter has the methods that programs call. Both kits have them.
type rateLimiter[L any, R any] interface {
	Allow(ctx context.Context, key string, limit L) (R, error)
	AllowN(ctx context.Context, key string, limit L, n int) (R, error)
	AllowAtMost(ctx context.Context, key string, limit L, n int) (R, error)
	Reset(ctx context.Context, key string) error
}

var (
	_ rateLimiter[redis_rate.Limit, *redis_rate.Result] = (*redis_rate.Limiter)(nil)
	_ rateLimiter[dropin.Limit, *dropin.Result]         = (*dropin.Limiter)(nil)
	_                                                   = redis_rate.Limit(dropin.Limit{}) // the same fields
)

// clock is a limiter on a server whose time stands still until the test moves it.
type clock struct {
	*dropin.Limiter
	t     *testing.T
	start time.Time
	set   func(time.Time)
}

func newClock(t *testing.T) *clock {
	t.Helper()
	server := redistest.Embedded(t)
	c := &clock{dropin.NewLimiter(newLimiter(t, server.Client(t)), dropin.LimiterOptions{}), t, time.Unix(1_800_000_000, 0), server.Miniredis().SetTime}
	c.at(0)
	return c
}

func (c *clock) at(d time.Duration) { c.set(c.start.Add(d)) }

// near allows for permits that lie a µs apart because the clock stands still.
func near(got, want time.Duration) bool {
	return got == want || want > 0 && want != ratelimit.Never && got > want-time.Millisecond && got < want+time.Millisecond
}

// wants checks the fields of a result: how many events are allowed and remain, when to
// retry and when all is reset.
func (c *clock) wants(what string, r *dropin.Result, err error, allowed, remaining int, retry, reset time.Duration) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
	if r.Allowed != allowed || r.Remaining != remaining || !near(r.RetryAfter, retry) || !near(r.ResetAfter, reset) {
		c.t.Errorf("%s: allowed %d, remaining %d, retry %v, reset %v; want %d, %d, %v, %v",
			what, r.Allowed, r.Remaining, r.RetryAfter, r.ResetAfter, allowed, remaining, retry, reset)
	}
}

func TestRedisRateLimit(t *testing.T) {
	limit := dropin.PerSecond(10)
	if got := limit.String(); got != "10 req/s (burst 10)" || got != redis_rate.PerSecond(10).String() {
		t.Error(got)
	}
	for _, l := range []dropin.Limit{dropin.PerMinute(7), dropin.PerHour(1), {Rate: 3, Burst: 4, Period: 90 * time.Second}} {
		if got, want := l.String(), redis_rate.Limit(l).String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if limit.IsZero() || !(dropin.Limit{}).IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestRedisRateAllow(t *testing.T) {
	c, ctx, limit := newClock(t), t.Context(), dropin.PerSecond(10)
	r, err := c.Allow(ctx, "id", limit)
	c.wants("first", r, err, 1, 9, -1, time.Second)
	if r.Limit != limit {
		t.Errorf("limit %v", r.Limit)
	}
	if err := c.Reset(ctx, "id"); err != nil {
		t.Fatal(err)
	}
	r, err = c.Allow(ctx, "id", limit)
	c.wants("after reset", r, err, 1, 9, -1, time.Second)
	c.at(100 * time.Millisecond)
	r, err = c.AllowN(ctx, "id", limit, 2)
	c.wants("two", r, err, 2, 7, -1, time.Second)
	c.at(200 * time.Millisecond)
	r, err = c.AllowN(ctx, "id", limit, 7)
	c.wants("seven", r, err, 7, 0, -1, time.Second)
	r, err = c.AllowN(ctx, "id", limit, 1)
	c.wants("one more", r, err, 0, 0, 800*time.Millisecond, time.Second)
	r, err = c.AllowN(ctx, "id", limit, 4)
	c.wants("four more", r, err, 0, 0, time.Second, time.Second)
	r, err = c.AllowN(ctx, "id", limit, 1000)
	c.wants("more than ever", r, err, 0, 0, ratelimit.Never, time.Second)
	r, err = c.Allow(ctx, "other", limit)
	c.wants("another key", r, err, 1, 9, -1, time.Second)
	r, err = c.Allow(ctx, "", limit)
	c.wants("the empty key", r, err, 1, 9, -1, time.Second)
	c.at(1001 * time.Millisecond)
	r, err = c.Allow(ctx, "id", limit)
	c.wants("when the first is out of the window", r, err, 1, 0, -1, time.Second)
}

func TestRedisRateLook(t *testing.T) {
	for name, look := range map[string]func(*clock) (*dropin.Result, error){
		"AllowN": func(c *clock) (*dropin.Result, error) { return c.AllowN(c.t.Context(), "id", dropin.PerSecond(10), 0) },
		"AllowAtMost": func(c *clock) (*dropin.Result, error) {
			return c.AllowAtMost(c.t.Context(), "id", dropin.PerSecond(10), 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock(t)
			r, err := look(c)
			c.wants("nothing spent", r, err, 0, 10, -1, 0)
			_, _ = c.Allow(t.Context(), "id", dropin.PerSecond(10))
			c.at(300 * time.Millisecond)
			r, err = look(c)
			c.wants("one spent", r, err, 0, 9, -1, 700*time.Millisecond)
			_, _ = c.AllowN(t.Context(), "id", dropin.PerSecond(10), 9)
			r, err = look(c)
			c.wants("all spent", r, err, 0, 0, -1, time.Second)
		})
	}
}

func TestRedisRateAllowAtMost(t *testing.T) {
	c, ctx, limit := newClock(t), t.Context(), dropin.PerSecond(10)
	r, err := c.Allow(ctx, "id", limit)
	c.wants("first", r, err, 1, 9, -1, time.Second)
	r, err = c.AllowAtMost(ctx, "id", limit, 2)
	c.wants("two", r, err, 2, 7, -1, time.Second)
	c.at(100 * time.Millisecond)
	r, err = c.AllowAtMost(ctx, "id", limit, 10)
	c.wants("ten", r, err, 7, 0, -1, time.Second)
	r, err = c.AllowAtMost(ctx, "id", limit, 1000)
	c.wants("more than ever", r, err, 0, 0, 900*time.Millisecond, time.Second)
	r, err = c.AllowN(ctx, "id", limit, 1000)
	c.wants("all of more than ever", r, err, 0, 0, ratelimit.Never, time.Second)
	r, err = c.AllowAtMost(ctx, "new", limit, 1000)
	c.wants("more than ever of a new key", r, err, 10, 0, -1, time.Second)
}

// A burst is a second limit, in the time in which Rate brings it back.
func TestRedisRateBurst(t *testing.T) {
	ctx := t.Context()
	t.Run("smaller", func(t *testing.T) {
		c, limit := newClock(t), dropin.Limit{Rate: 10, Burst: 3, Period: time.Second}
		r, err := c.AllowN(ctx, "id", limit, 3)
		c.wants("the burst", r, err, 3, 0, -1, time.Second)
		r, err = c.Allow(ctx, "id", limit)
		c.wants("one more", r, err, 0, 0, 300*time.Millisecond, time.Second)
		total := 3
		for ms := 1; ms < 1000; ms++ { // ask all the time
			c.at(time.Duration(ms) * time.Millisecond)
			r, err := c.Allow(ctx, "id", limit)
			if err != nil {
				t.Fatal(err)
			}
			total += r.Allowed
		}
		if total != 10 {
			t.Errorf("%d in a second, want 10", total)
		}
	})
	t.Run("larger", func(t *testing.T) {
		c, limit := newClock(t), dropin.Limit{Rate: 10, Burst: 20, Period: time.Second}
		r, err := c.AllowN(ctx, "id", limit, 20)
		c.wants("the burst", r, err, 20, 0, -1, 2*time.Second)
		r, err = c.Allow(ctx, "id", limit)
		c.wants("one more", r, err, 0, 0, 2*time.Second, 2*time.Second)
	})
	t.Run("equal by rounding", func(t *testing.T) {
		c, limit := newClock(t), dropin.Limit{Rate: 3000, Burst: 2999, Period: time.Millisecond}
		r, err := c.AllowN(ctx, "id", limit, 2999)
		c.wants("the burst", r, err, 2999, 0, -1, time.Millisecond)
	})
	t.Run("large", func(t *testing.T) {
		c, limit := newClock(t), dropin.PerHour(1_000_000)
		r, err := c.AllowN(ctx, "id", limit, 999_999)
		c.wants("nearly all", r, err, 999_999, 1, -1, time.Hour)
	})
}

func TestRedisRateRefuses(t *testing.T) {
	c := newClock(t)
	for _, limit := range []dropin.Limit{{}, {Rate: 1, Period: time.Second}, {Burst: 1, Period: time.Second}, {Rate: 1, Burst: 1},
		{Rate: 1, Burst: 1, Period: time.Microsecond}, {Rate: 1, Burst: 1 << 60, Period: time.Hour}, {Rate: 1, Burst: 1000, Period: 9600 * time.Hour},
		{Rate: 1 << 62, Burst: 1 << 62, Period: time.Second}} {
		t.Run(fmt.Sprintf("%+v", limit), func(t *testing.T) {
			if r, err := c.Allow(t.Context(), "id", limit); err == nil {
				t.Errorf("%v: %+v, want an error", limit, r)
			}
		})
	}
	if _, err := c.AllowN(t.Context(), "id", dropin.PerSecond(1), -1); err == nil {
		t.Error("a negative number was taken")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"AllowN":      func() error { _, err := c.Allow(gone, "id", dropin.PerSecond(1)); return err },
		"look":        func() error { _, err := c.AllowN(gone, "id", dropin.PerSecond(1), 0); return err },
		"AllowAtMost": func() error { _, err := c.AllowAtMost(gone, "id", dropin.PerSecond(1), 1); return err },
		"Reset":       func() error { return c.Reset(gone, "id") },
	} {
		t.Run(name, func(t *testing.T) {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s of who has gone: %v", name, err)
			}
		})
	}
}

// The time to retry is at most the period, however often a program asks.
func TestRedisRateRetryAfter(t *testing.T) {
	limiter := dropin.NewLimiter(newLimiter(t, redistest.Single(t).Client(t)), dropin.LimiterOptions{})
	limit := dropin.Limit{Rate: 1, Burst: 1, Period: time.Millisecond}
	allowed := 0
	for range 500 {
		r, err := limiter.Allow(t.Context(), "id", limit)
		if err != nil {
			t.Fatal(err)
		}
		allowed += r.Allowed
		if r.Allowed == 0 && (r.RetryAfter <= 0 || r.RetryAfter > time.Millisecond) {
			t.Fatalf("retry after %v", r.RetryAfter)
		}
	}
	if allowed == 0 {
		t.Error("nothing passed")
	}
}

// Reset knows the limits of earlier calls and those of the options, up to the number that
// it can remember.
func TestRedisRateReset(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		core, ctx := newLimiter(t, server.Client(t)), t.Context()
		burst := dropin.Limit{Rate: 10, Burst: 3, Period: time.Hour}
		limits := []dropin.Limit{dropin.PerHour(10), dropin.PerHour(20), dropin.PerMinute(10), burst, dropin.PerHour(10_000)}
		user := dropin.NewLimiter(core, dropin.LimiterOptions{})
		admin := dropin.NewLimiter(core, dropin.LimiterOptions{Limits: limits})
		for _, l := range []*dropin.Limiter{user, admin} {
			for _, limit := range limits {
				if r, err := user.AllowAtMost(ctx, "id", limit, limit.Rate); err != nil || r.Allowed == 0 {
					t.Fatalf("%v: %+v, %v", limit, r, err)
				}
				if err := l.Reset(ctx, "id"); err != nil {
					t.Fatal(err)
				}
				if r, err := user.AllowN(ctx, "id", limit, 0); err != nil || r.Remaining != min(limit.Rate, limit.Burst) {
					t.Errorf("%v: %d remain after a reset, %v", limit, r.Remaining, err)
				}
			}
		}
		for i := range 300 { // computed limits: remembered up to a bound, and decided all the same
			r, err := user.Allow(ctx, "many", dropin.PerHour(1000+i))
			if err != nil || r.Remaining != 999 {
				t.Fatalf("limit %d: %+v, %v", i, r, err)
			}
		}
	})
}

// Many goroutines ask at once for all that is left, and together they don't get more.
func TestRedisRateInParallel(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		limiter := dropin.NewLimiter(newLimiter(t, server.Client(t)), dropin.LimiterOptions{})
		var one, most atomic.Int64
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				r, err := limiter.Allow(t.Context(), "one", dropin.PerHour(20))
				r2, err2 := limiter.AllowAtMost(t.Context(), "most", dropin.PerHour(100), 7)
				if err != nil || err2 != nil {
					t.Error(err, err2)
					return
				}
				one.Add(int64(r.Allowed))
				most.Add(int64(r2.Allowed))
			})
		}
		wg.Wait()
		rest, err := limiter.AllowAtMost(t.Context(), "most", dropin.PerHour(100), 100)
		if err != nil {
			t.Fatal(err)
		}
		if one.Load() != 20 || most.Load()+int64(rest.Allowed) != 100 {
			t.Errorf("%d of 20 and %d and %d of 100 allowed", one.Load(), most.Load(), rest.Allowed)
		}
	})
}

func TestRedisRateWhenRedisIsAway(t *testing.T) {
	ctx, limit := t.Context(), dropin.PerHour(3)
	for _, c := range []struct {
		mode ratelimit.FailMode
		want string // of three calls for 2, one at most 2, and a look
	}{
		{ratelimit.FailOpen, "2 2 2 2 0"},
		{ratelimit.FailLocal, "2 0 0 1 0"},
		{ratelimit.FailClosed, "error error error error error"},
	} {
		t.Run(c.want, func(t *testing.T) {
			limiter := dropin.NewLimiter(newLimiter(t, nowhere(t)), dropin.LimiterOptions{FailMode: c.mode})
			var got string
			for i, call := range []func() (*dropin.Result, error){
				func() (*dropin.Result, error) { return limiter.AllowN(ctx, "id", limit, 2) },
				func() (*dropin.Result, error) { return limiter.AllowN(ctx, "id", limit, 2) },
				func() (*dropin.Result, error) { return limiter.AllowN(ctx, "id", limit, 2) },
				func() (*dropin.Result, error) { return limiter.AllowAtMost(ctx, "id", limit, 2) },
				func() (*dropin.Result, error) { return limiter.AllowN(ctx, "id", limit, 0) },
			} {
				r, err := call()
				if i > 0 {
					got += " "
				}
				if errors.Is(err, gatekit.ErrUnavailable) {
					got += "error"
				} else if err == nil {
					got += fmt.Sprint(r.Allowed)
				}
				if err == nil && (r.Remaining != 0 || r.ResetAfter != 0) {
					t.Errorf("%v: call %d claims to know %+v", c.mode, i, r)
				}
			}
			if got != c.want {
				t.Errorf("%v: allowed %s, want %s", c.mode, got, c.want)
			}
			if err := limiter.Reset(ctx, "id"); !errors.Is(err, gatekit.ErrUnavailable) {
				t.Errorf("%v: reset: %v", c.mode, err)
			}
		})
	}
}
