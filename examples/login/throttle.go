package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"time"

	"github.com/gatekit/gatekit/ratelimit"
)

// How many wrong passwords are let through. The account's limits stop one account from being guessed, the address's stop
// one password from being tried on all accounts. While Redis does not answer nobody logs in: a login that is not counted
// is a free guess.
//
// Whoever knows a user's name can use up the account's limits, and the user then waits as well. The limit of a minute
// keeps that wait short.
var (
	perAccount = ratelimit.MustPolicy("login-account",
		ratelimit.PerMinute(5), ratelimit.PerHour(20), ratelimit.PerDay(100)).OnFailure(ratelimit.FailClosed)
	perAddress = ratelimit.MustPolicy("login-address",
		ratelimit.PerMinute(20), ratelimit.PerHour(100)).OnFailure(ratelimit.FailClosed)
)

// byAddress counts of IPv6 the /64, since a client has all of that. Behind a proxy every address would be the proxy's: list
// it in TrustedProxies then, and the field that it writes.
var byAddress = ratelimit.MustByIP(ratelimit.IPOptions{})

var errThrottleDown = errors.New("wrong passwords can't be counted")

// throttle decides whether a password may be tried.
type throttle struct{ limiter *ratelimit.Limiter }

// An attempt is what came of trying a password.
type attempt struct {
	OK   bool
	Left int64         // further attempts before there is a pause
	Wait time.Duration // above 0: the password was not looked at, and can be after this time
}

// try runs verify, unless too many passwords were wrong. The attempt is charged before verify runs, and given back when
// the password was right: counted afterwards, a hundred guesses sent at once would all pass. The name is any text, of an
// existing user or not, so that the answers don't tell which names exist. The error means that Redis did not answer.
func (t throttle) try(r *http.Request, name string, verify func() bool) (attempt, error) {
	address, err := byAddress(r)
	if err != nil {
		return attempt{}, err
	}
	charges := []ratelimit.Request{
		// The address comes first: one that may not try must not take a permit from the account, not even for a moment.
		{Policy: perAddress, Key: address, Cost: 1},
		{Policy: perAccount, Key: "name:" + name, Cost: 1}, // a key can't be empty, a form field can
	}
	a := attempt{Left: math.MaxInt64}
	var charged []ratelimit.Decision
	for _, charge := range charges {
		d, err := t.limiter.Do(r.Context(), charge)
		if err == nil && d.Degraded != nil {
			err = fmt.Errorf("%w: %w", errThrottleDown, d.Degraded)
		}
		if err != nil || !d.Allowed {
			t.refund(r.Context(), charged)
			return attempt{Wait: d.RetryAfter}, err
		}
		charged = append(charged, d)
		a.Left = min(a.Left, d.Remaining)
	}
	if a.OK = verify(); a.OK {
		t.refund(r.Context(), charged)
	}
	return a, nil
}

// refund gives back what was charged. A client that hangs up does not prevent it.
func (t throttle) refund(ctx context.Context, charged []ratelimit.Decision) {
	if len(charged) == 0 {
		return
	}
	if _, err := t.limiter.RefundMany(context.WithoutCancel(ctx), charged); err != nil {
		slog.WarnContext(ctx, "login: an attempt stays counted until its window ends", "error", err)
	}
}
