package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gatekit/gatekit/ratelimit"
)

// A plan is what a tenant pays for.
type plan struct {
	name  string
	quota *quota
}

// A quota is how much a tenant may ask for. It is made once, not for each request,
// because a policy is made once.
type quota struct {
	perMinute int64
	policy    *ratelimit.Policy
}

var (
	free = plan{"free", mustQuota(10)}
	pro  = plan{"pro", mustQuota(100)}
)

// perDay times the permits a minute is the quota of a day: full speed for a tenth of the
// day. perMonth times them is what is sold by the month.
const (
	perDay   = 24 * 60 / 10
	perMonth = 10 * perDay
)

// newQuota returns the quota of so many permits a minute. All quotas are policies of one
// name with limits of the same windows, calendars and algorithms, so they share their
// counts: a tenant that gets another quota keeps what it spent.
func newQuota(perMinute int64) (*quota, error) {
	if perMinute < 1 || perMinute > ratelimit.MaxLogQuota {
		return nil, fmt.Errorf("per_minute is %d, not in 1 to %d", perMinute, ratelimit.MaxLogQuota)
	}
	policy, err := ratelimit.NewPolicy("api",
		ratelimit.PerMinute(perMinute),
		ratelimit.Limit{Name: "day", Quota: perDay * perMinute, Window: 24 * time.Hour, Algorithm: ratelimit.SlidingBuckets},
		ratelimit.PerCalendarMonth(perMonth*perMinute, time.UTC))
	if err != nil {
		return nil, err
	}
	return &quota{perMinute, policy}, nil
}

func mustQuota(perMinute int64) *quota {
	q, err := newQuota(perMinute)
	if err != nil {
		panic(err)
	}
	return q
}

// current returns the quota that the tenant has now.
func (t *tenant) current() *quota {
	if q := t.quota.Load(); q != nil {
		return q
	}
	return t.plan.quota
}

// setQuota gives the tenant a quota of its own; 0 gives back the plan's. A service of
// many processes would keep it in its database. Until all processes have read it, each
// decides by the quota that it knows. They share one count.
func (t *tenant) setQuota(perMinute int64) error {
	if perMinute == 0 {
		t.quota.Store(nil)
		return nil
	}
	q, err := newQuota(perMinute)
	if err != nil {
		return err
	}
	t.quota.Store(q)
	return nil
}

// byPlan is the rule for requests of tenants. All keys of a tenant share its quota.
func byPlan(cost int64) ratelimit.Rule {
	return ratelimit.Rule{
		PolicyFunc: func(r *http.Request) *ratelimit.Policy {
			if t := callerOf(r).tenant; t != nil {
				return t.current().policy
			}
			return nil // the rule does not apply
		},
		Key:  func(r *http.Request) (string, error) { return callerOf(r).tenant.key(), nil },
		Cost: func(*http.Request) int64 { return cost },
	}
}

// strangers is the rule for requests without a valid key, on all routes. The key is
// checked before the rule counts, so only failures count, and tenants who share an
// address with a stranger lose nothing. The rule bounds the load of wrong guesses. The
// keys themselves are too long to guess.
func strangers() ratelimit.Rule {
	return ratelimit.Rule{
		Policy: ratelimit.MustPolicy("strangers", ratelimit.PerMinute(20)),
		Key:    ratelimit.MustByIP(ratelimit.IPOptions{}),
		Skip:   func(r *http.Request) bool { return callerOf(r).known() },
	}
}
