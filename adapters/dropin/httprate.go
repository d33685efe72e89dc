package dropin

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/ratelimit"
)

// LimitCounterOptions of a [LimitCounter]; the zero value is ready to use.
type LimitCounterOptions struct {
	// MaxLimit is the largest limit that the program gives a request by
	// httprate.WithRequestLimit, up to [ratelimit.MaxBucketQuota]. 0 means that none is
	// above the limit of the rate limiter itself.
	MaxLimit int

	// FailMode decides while Redis does not. The zero value is
	// [ratelimit.FailLocal].
	FailMode ratelimit.FailMode
}

// LimitCounter counts for the rate limiter of go-chi/httprate, a window that slides:
//
//	httprate.LimitBy(100, time.Minute, key,
//		httprate.WithLimitCounter(dropin.NewLimitCounter(limiter, "api", dropin.LimitCounterOptions{})),
//		httprate.WithErrorHandler(dropin.HandleLimitError))
//
// httprate estimates a sliding window from the counters of two fixed ones. This counter
// returns two numbers: as the current count the permits spent in the window that ends
// now, and as the previous count 0. So the estimate is this kit's own count: by
// [ratelimit.SlidingWindow] for a limit up to [ratelimit.MaxLogQuota], by
// [ratelimit.SlidingBuckets] above.
//
// httprate asks first and counts afterwards, so another process may spend in between. The
// count then decides: if it would exceed the quota, [LimitCounter.IncrementBy] returns
// [ErrOverLimit], and httprate refuses the request (see [HandleLimitError]). So the limit
// is never exceeded, with one exception: if requests have limits of their own
// (httprate.WithRequestLimit), the quota of the count is the larger of MaxLimit and the
// limiter's.
//
// The interface has three limits. It has no context, so only the limiter's budget bounds
// a call. It can't carry the exact time to retry: httprate sends Retry-After with the
// whole window, and X-RateLimit-Reset as if windows were fixed. A request takes two round
// trips, and httprate holds one lock around both, so a process decides on one request of
// a rate limiter at a time. adapters/gatehttp, also for chi's router, has none of these
// limits.
//
// Each rate limiter needs a counter of its own. It is safe for concurrent use.
type LimitCounter struct {
	limiter *ratelimit.Limiter
	name    string
	opts    LimitCounterOptions
	set     atomic.Pointer[counterConfig]
}

type counterConfig struct {
	limit  int               // the rate limiter's; 0 or less lets nothing pass
	quota  int64             // the most that a window may count
	policy *ratelimit.Policy // nil if limit lets nothing pass
}

// ErrOverLimit means that counting a request would have exceeded the quota: another
// process was faster. Nothing was counted.
var ErrOverLimit = errors.New("dropin: over the limit")

var errNotConfigured = errors.New("dropin: LimitCounter: Config was not called")

// NewLimitCounter returns a counter whose counts are apart from those of other names: 1
// to 32 of A-Z a-z 0-9 . _ -, the first a letter or digit. It panics when limiter is nil
// or the name malformed.
func NewLimitCounter(limiter *ratelimit.Limiter, name string, opts LimitCounterOptions) *LimitCounter {
	given.Must(limiter)
	c := &LimitCounter{limiter: limiter, name: name, opts: opts}
	_ = c.policy(1, time.Second) // panics now, and not with the first request
	return c
}

func (c *LimitCounter) policy(quota int64, window time.Duration) *ratelimit.Policy {
	limit := ratelimit.Limit{Name: "window", Quota: quota, Window: window}
	if quota > ratelimit.MaxLogQuota {
		limit.Algorithm = ratelimit.SlidingBuckets
	}
	return ratelimit.MustPolicy(c.name, limit).OnFailure(c.opts.FailMode)
}

// Config sets the limit and the window; httprate calls it once, before all other methods.
// It panics when they are out of the range of [ratelimit.Limit]. A limit below 1 lets
// nothing pass.
func (c *LimitCounter) Config(requestLimit int, windowLength time.Duration) {
	config := &counterConfig{limit: requestLimit}
	if quota := max(requestLimit, c.opts.MaxLimit); quota > 0 {
		config.quota = int64(quota)
		config.policy = c.policy(config.quota, windowLength)
	}
	c.set.Store(config)
}

// Increment is IncrementBy for one.
func (c *LimitCounter) Increment(key string, currentWindow time.Time) error {
	return c.IncrementBy(key, currentWindow, 1)
}

// IncrementBy counts the amount for the key now. It ignores currentWindow, since the
// window slides by Redis's clock. An error means that nothing may pass: [ErrOverLimit],
// or [gatekit.ErrUnavailable] where the fail mode is closed. An amount below 1 counts
// nothing.
func (c *LimitCounter) IncrementBy(key string, _ time.Time, amount int) error {
	config := c.set.Load()
	switch {
	case config == nil:
		return errNotConfigured
	case amount < 1:
		return nil
	case config.policy == nil:
		return &overLimit{ratelimit.Never}
	}
	d, err := c.limiter.TakeN(context.Background(), config.policy, ratelimit.Join("httprate", key), int64(amount))
	switch {
	case err != nil:
		return err
	case d.Allowed:
		return nil
	case d.Degraded != nil && config.policy.FailMode() == ratelimit.FailClosed:
		return &undecided{d.Degraded}
	}
	return &overLimit{d.RetryAfter}
}

// Get returns the count of the key in the window that ends now, and 0 for the window
// before. It ignores the two times. While Redis does not decide, the count is 0 if the
// fail mode lets a request pass, and the limit if this process has admitted its share.
// With [ratelimit.FailClosed] the error is [gatekit.ErrUnavailable].
func (c *LimitCounter) Get(key string, _, _ time.Time) (current, previous int, err error) {
	config := c.set.Load()
	if config == nil {
		return 0, 0, errNotConfigured
	}
	if config.policy == nil {
		return 0, 0, nil // and httprate compares with a limit below 1
	}
	d, err := c.limiter.Peek(context.Background(), config.policy, ratelimit.Join("httprate", key))
	switch {
	case err != nil:
		return 0, 0, err
	case d.Degraded == nil:
		return int(config.quota - d.Remaining), 0, nil
	case d.Allowed:
		return 0, 0, nil
	case config.policy.FailMode() == ratelimit.FailClosed:
		return 0, 0, &undecided{d.Degraded}
	}
	return int(config.quota), 0, nil
}

// overLimit is ErrOverLimit with the time to wait.
type overLimit struct{ retryAfter time.Duration }

func (*overLimit) Error() string { return ErrOverLimit.Error() }
func (*overLimit) Unwrap() error { return ErrOverLimit }

// undecided wraps the reason why Redis did not decide, for a policy that fails closed.
type undecided struct{ cause error }

func (u *undecided) Error() string { return "dropin: " + u.cause.Error() }
func (u *undecided) Unwrap() error { return u.cause }

// HandleLimitError answers a request that httprate could not count, for
// httprate.WithErrorHandler: 429 with Retry-After for [ErrOverLimit], 503 when Redis did
// not decide, 400 for the error of a key function. Without it httprate answers all three
// with 428 and the text of the error.
func HandleLimitError(w http.ResponseWriter, _ *http.Request, err error) {
	code := http.StatusBadRequest
	var over *overLimit
	var away *undecided
	switch {
	case errors.As(err, &over):
		code = http.StatusTooManyRequests
		if over.retryAfter < ratelimit.Never {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(over.retryAfter.Seconds()))))
		}
	case errors.As(err, &away):
		code = http.StatusServiceUnavailable
	}
	http.Error(w, http.StatusText(code), code)
}
