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
// Without the extractor the middleware takes Echo's RealIP. In v4 that believes any
// X-Forwarded-For that a client makes up, unless Echo.IPExtractor is set. In both
// versions it counts each IPv6 address apart, and one line has very many.
//
// The interface can't carry two things. It has no context, so only the limiter's budget
// bounds a decision. It has no decision, so a denial has neither Retry-After nor
// X-RateLimit fields. For Echo v5 gateecho5.NewRateLimiterStore has both, and the
// adapters for Echo have more.
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

// Allow takes a permit for the identifier. The key is ratelimit.Join("echo", identifier),
// so all requests with an empty identifier share a quota.
//
// While Redis does not decide, the policy's fail mode does. A denial then has an error,
// which the middleware passes to its DenyHandler: errors.Is(err, gatekit.ErrUnavailable)
// distinguishes 503 from 429 there. A request that passes has no error: Echo would ignore
// it, and another caller might take it for a refusal, against the fail mode. The
// limiter's Logger and Observer report the outage.
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
