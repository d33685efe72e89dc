package gateecho5

import (
	"context"
	"strconv"
	"time"

	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v5"
	echomiddleware "github.com/labstack/echo/v5/middleware"
)

// RateLimiterStore is an [echomiddleware.RateLimiterStoreContext], for programs that keep
// Echo's own rate limiter middleware. It sends X-RateLimit-Limit and
// X-RateLimit-Remaining of the limit that has the least left. With a denial it sends
// Retry-After too, as Echo's memory store does. It is safe for concurrent use.
//
// Set IdentifierExtractor to a [ratelimit.ByIP]: by default the middleware counts each
// IPv6 address apart, and one line has very many.
type RateLimiterStore struct {
	limiter *ratelimit.Limiter
	policy  *ratelimit.Policy
}

var _ echomiddleware.RateLimiterStoreContext = (*RateLimiterStore)(nil)

// NewRateLimiterStore returns a store that spends one permit of the policy for each
// request of an identifier. It panics when one of its arguments is nil.
func NewRateLimiterStore(limiter *ratelimit.Limiter, policy *ratelimit.Policy) *RateLimiterStore {
	if limiter == nil || policy == nil {
		panic("gateecho5: NewRateLimiterStore: limiter and policy must not be nil")
	}
	return &RateLimiterStore{limiter, policy}
}

// AllowContext takes a permit for the identifier, whose key is ratelimit.Join("echo",
// identifier). While Redis does not decide, the policy's fail mode does. Then only a
// denial returns an error, which the middleware passes to its DenyHandler.
func (s *RateLimiterStore) AllowContext(c *echo.Context, identifier string) (bool, error) {
	d, err := s.take(c.Request().Context(), identifier)
	if err != nil {
		return false, err
	}
	h := c.Response().Header()
	if d.Remaining != ratelimit.Unknown {
		least := d.Limits[0]
		for _, l := range d.Limits {
			if l.Remaining < least.Remaining {
				least = l
			}
		}
		h.Set(echomiddleware.HeaderXRateLimitLimit, strconv.FormatInt(least.Quota, 10))
		h.Set(echomiddleware.HeaderXRateLimitRemaining, strconv.FormatInt(least.Remaining, 10))
	}
	if d.Allowed {
		return true, nil
	}
	if d.RetryAfter < ratelimit.Never {
		seconds := (d.RetryAfter + time.Second - 1) / time.Second
		h.Set(echo.HeaderRetryAfter, strconv.FormatInt(int64(max(seconds, 1)), 10))
	}
	return false, d.Degraded
}

// Allow is AllowContext without a request, and so without header fields.
func (s *RateLimiterStore) Allow(identifier string) (bool, error) {
	d, err := s.take(context.Background(), identifier)
	if err != nil || d.Allowed {
		return err == nil, err
	}
	return false, d.Degraded
}

func (s *RateLimiterStore) take(ctx context.Context, identifier string) (ratelimit.Decision, error) {
	return s.limiter.Take(ctx, s.policy, ratelimit.Join("echo", identifier))
}
