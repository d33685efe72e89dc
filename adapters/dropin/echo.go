package dropin

import (
	"context"

	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/ratelimit"
)

// EchoStore decides for the rate limiter middleware of Echo, v4 and v5:
//
//	byIP := ratelimit.MustByIP(ratelimit.IPOptions{})
//	e.Use(middleware.RateLimiterWithConfig(middleware.RateLimiterConfig{
//		IdentifierExtractor: func(c *echo.Context) (string, error) { return byIP(c.Request()) },
//		Store:               dropin.NewEchoStore(limiter, policy),
//	}))
//
// Without the extractor the middleware takes Echo's RealIP: in v4 any X-Forwarded-For
// that a client makes up, unless Echo.IPExtractor is set, and each address of an IPv6
// line apart.
//
// What the interface can't carry: the request's context, so a decision is bounded by the
// limiter's budget alone; and the decision itself, so that a denial has neither
// Retry-After nor X-RateLimit fields. For Echo v5 gateecho5.NewRateLimiterStore has all
// of that, and the adapters for Echo have more.
//
// It is safe for concurrent use.
type EchoStore struct {
	limiter *ratelimit.Limiter
	policy  *ratelimit.Policy
}

// NewEchoStore returns a store that spends one permit of the policy for each request of
// an identifier. It panics when one of its arguments is nil.
func NewEchoStore(limiter *ratelimit.Limiter, policy *ratelimit.Policy) *EchoStore {
	given.Must(limiter)
	given.Must(policy)
	return &EchoStore{limiter, policy}
}

// Allow takes a permit for the identifier, whose key is ratelimit.Join("echo",
// identifier); all requests with an empty one share a quota.
//
// While Redis does not decide, the policy's fail mode does, and the error goes with a
// denial only, to the middleware's DenyHandler: there errors.Is(err,
// gatekit.ErrUnavailable) tells 503 from 429. Where the fail mode lets a request pass the
// error is nil. Echo would not look at it, and whoever does take it for a refusal would
// turn the fail mode around; the limiter's Logger and Observer tell of the outage.
func (s *EchoStore) Allow(identifier string) (bool, error) {
	d, err := s.limiter.Take(context.Background(), s.policy, ratelimit.Join("echo", identifier))
	if err != nil {
		return false, err
	}
	if d.Allowed {
		return true, nil
	}
	return false, d.Degraded
}
