package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gatekit/gatekit/ratelimit"
)

// How many wrong passwords are let through. The limits of an account stop it from being
// guessed, those of an address stop one password from being tried on all accounts. While
// Redis does not answer nobody logs in: a login that is not counted is a free guess.
//
// An account is counted for each address by itself. Counted for all addresses together,
// anybody who knows a user's name could keep the user out: 100 wrong passwords a day
// would do. The price is that somebody with many addresses has as many times 100 guesses
// a day; what stops that is a password that is not on any list, and a second factor.
var (
	perAccount = ratelimit.MustPolicy("login-account",
		ratelimit.PerMinute(5), ratelimit.PerHour(20), ratelimit.PerDay(100)).OnFailure(ratelimit.FailClosed)
	perAddress = ratelimit.MustPolicy("login-address",
		ratelimit.PerMinute(20), ratelimit.PerHour(100)).OnFailure(ratelimit.FailClosed)
)

// byAddress counts of IPv6 the /64, since a client has all of that. Behind a proxy every
// address would be the proxy's: list it in TrustedProxies then, and the field that it
// writes.
var byAddress = ratelimit.MustByIP(ratelimit.IPOptions{})

var errThrottleDown = errors.New("wrong passwords can't be counted")

// throttle decides whether a password may be tried.
type throttle struct{ limiter *ratelimit.Limiter }

// An attempt is the result of trying a password.
type attempt struct {
	OK   bool
	Left int64         // further attempts before there is a pause
	Wait time.Duration // above 0: the password was not looked at, and can be after this time
}

// try runs verify, unless too many passwords were wrong. The attempt is charged before
// verify runs, and given back when the password was right: counted afterwards, a hundred
// guesses sent at once would all pass. The name is any text, of an existing user or not,
// so that the answers don't tell which names exist. The error means that Redis did not
// answer.
func (t throttle) try(r *http.Request, name string, verify func() bool) (attempt, error) {
	address, err := byAddress(r)
	if err != nil {
		return attempt{}, err
	}
	charges := []ratelimit.Request{
		// The address comes first: one that may not try must not take a permit from the
		// account, not even for a moment.
		{Policy: perAddress, Key: address, Cost: 1},
		{Policy: perAccount, Key: account(name, address), Cost: 1},
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

// account is the key of an account for one address. The length keeps a name from being
// taken for another's name and address.
func account(name, address string) string {
	return strconv.Itoa(len(name)) + ":" + name + address
}

// refund gives the charged permits back, also when the client hangs up.
func (t throttle) refund(ctx context.Context, charged []ratelimit.Decision) {
	if len(charged) == 0 {
		return
	}
	if _, err := t.limiter.RefundMany(context.WithoutCancel(ctx), charged); err != nil {
		slog.WarnContext(ctx, "login: an attempt stays counted until its window ends", "error", err)
	}
}
