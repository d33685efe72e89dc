package compare

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strconv"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/go-chi/httprate"
	"github.com/go-redis/redis_rate/v10"
	"github.com/labstack/echo/v4/middleware"
	"github.com/redis/go-redis/v9"
	"github.com/throttled/throttled/v2"
	throttledstore "github.com/throttled/throttled/v2/store/goredisstore.v9"
	"github.com/ulule/limiter/v3"
	ululestore "github.com/ulule/limiter/v3/drivers/store/redis"
	"golang.org/x/time/rate"
)

// limit lets quota calls pass in every window. Each kit gets it in its own terms, with
// bursts up to the quota.
type limit struct {
	quota  int
	window time.Duration
}

// An answer is the decision of a limiter on one call.
type answer struct {
	allowed bool
	retryAt time.Time // when to come again; zero if the limiter doesn't say
}

// take asks for one permit of a key.
type take func(key string) (answer, error)

// asked has the functions that ask a kit for permits of its limits.
type asked struct {
	all  take   // of all limits: in one call, or one after the other until one denies
	each []take // of one limit alone
}

// A rateLimiter is a column of the table of limiters.
type rateLimiter struct {
	kit
	inProcess bool // counts in the memory of the process, so that two processes don't share a limit
	open      func(client redis.UniversalClient, limits ...limit) (asked, error)
}

var limiters = []rateLimiter{
	{kit{"gatekit", ""}, false, openGatekit},
	{kit{"redis_rate", "github.com/go-redis/redis_rate/v10"}, false, inTurn(openRedisRate)},
	{kit{"ulule/limiter", "github.com/ulule/limiter/v3"}, false, inTurn(openUlule)},
	{kit{"throttled", "github.com/throttled/throttled/v2"}, false, inTurn(openThrottled)},
	{kit{"httprate", "github.com/go-chi/httprate"}, true, inTurn(openHTTPRate)},
	{kit{"Echo RateLimiter", "github.com/labstack/echo/v4"}, true, inTurn(openEcho)},
}

// openGatekit returns limits that deny when Redis does not decide, so that Redis has
// counted all that they allow.
func openGatekit(client redis.UniversalClient, limits ...limit) (asked, error) {
	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		return asked{}, err
	}
	l, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		return asked{}, err
	}
	from := func(limits ...limit) take {
		var named []ratelimit.Limit
		for _, lim := range limits {
			named = append(named, ratelimit.Per(int64(lim.quota), lim.window))
		}
		policy := ratelimit.MustPolicy("compare", named...).OnFailure(ratelimit.FailClosed)
		return func(key string) (answer, error) {
			d, err := l.Take(context.Background(), policy, key)
			if err == nil {
				err = d.Degraded
			}
			return answer{d.Allowed, time.Now().Add(d.RetryAfter)}, err
		}
	}
	a := asked{all: from(limits...)}
	for _, lim := range limits {
		a.each = append(a.each, from(lim))
	}
	return a, nil
}

// inTurn opens a limiter for each limit and asks them one after the other until one
// denies.
func inTurn(open func(redis.UniversalClient, limit) (take, error)) func(redis.UniversalClient, ...limit) (asked, error) {
	return func(client redis.UniversalClient, limits ...limit) (asked, error) {
		var a asked
		for i, lim := range limits {
			one, err := open(client, lim)
			if err != nil {
				return asked{}, err
			}
			a.each = append(a.each, func(key string) (answer, error) { return one(key + ":" + strconv.Itoa(i)) })
		}
		a.all = func(key string) (got answer, err error) {
			for _, one := range a.each {
				if got, err = one(key); err != nil || !got.allowed {
					break
				}
			}
			return got, err
		}
		return a, nil
	}
}

func openRedisRate(client redis.UniversalClient, lim limit) (take, error) {
	l := redis_rate.NewLimiter(client)
	return func(key string) (answer, error) {
		r, err := l.Allow(context.Background(), key, redis_rate.Limit{Rate: lim.quota, Burst: lim.quota, Period: lim.window})
		if err != nil {
			return answer{}, err
		}
		return answer{r.Allowed > 0, time.Now().Add(r.RetryAfter)}, nil
	}, nil
}

func openUlule(client redis.UniversalClient, lim limit) (take, error) {
	store, err := ululestore.NewStore(client)
	if err != nil {
		return nil, err
	}
	l := limiter.New(store, limiter.Rate{Period: lim.window, Limit: int64(lim.quota)})
	return func(key string) (answer, error) {
		c, err := l.Get(context.Background(), key)
		return answer{err == nil && !c.Reached, time.Unix(c.Reset, 0)}, err
	}, nil
}

func openThrottled(client redis.UniversalClient, lim limit) (take, error) {
	store, err := throttledstore.NewCtx(client, "throttled:")
	if err != nil {
		return nil, err
	}
	l, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{
		MaxRate:  throttled.PerDuration(lim.quota, lim.window),
		MaxBurst: lim.quota - 1, // beyond the first
	})
	if err != nil {
		return nil, err
	}
	return func(key string) (answer, error) {
		limited, r, err := l.RateLimitCtx(context.Background(), key, 1)
		return answer{err == nil && !limited, time.Now().Add(r.RetryAfter)}, err
	}, nil
}

func openHTTPRate(_ redis.UniversalClient, lim limit) (take, error) {
	l := httprate.NewRateLimiter(lim.quota, lim.window)
	return func(key string) (answer, error) {
		w := httptest.NewRecorder()
		if !l.OnLimit(w, httptest.NewRequest("GET", "/", nil), key) {
			return answer{allowed: true}, nil
		}
		seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
		if err != nil {
			return answer{}, fmt.Errorf("Retry-After: %w", err)
		}
		return answer{retryAt: time.Now().Add(time.Duration(seconds) * time.Second)}, nil
	}, nil
}

func openEcho(_ redis.UniversalClient, lim limit) (take, error) {
	store := middleware.NewRateLimiterMemoryStoreWithConfig(middleware.RateLimiterMemoryStoreConfig{
		Rate:  rate.Limit(float64(lim.quota) / lim.window.Seconds()),
		Burst: lim.quota,
	})
	return func(key string) (answer, error) {
		allowed, err := store.Allow(key)
		return answer{allowed: allowed}, err
	}, nil
}

// drain takes permits of a key until it is denied, and returns how many there were.
func drain(one take, key string, atMost int) (int, error) {
	for n := range atMost + 1 {
		a, err := one(key)
		if err != nil {
			return n, err
		}
		if !a.allowed {
			return n, nil
		}
	}
	return 0, errors.New("it never denied")
}
