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

// These policies limit wrong passwords. The limits of an account stop guesses at it.
// Those of an address stop a client that tries one password on all accounts. While Redis
// does not answer nobody logs in, because an uncounted login is a free guess.
//
// An account is counted apart for each address. If it were counted for all addresses
// together, anybody who knows a user's name could lock the user out by 100 wrong
// passwords a day. The price: an attacker has 100 guesses a day from each address. A
// password that is on no list, and a second factor, stop that.
var (
	perAccount = ratelimit.MustPolicy("login-account",
		ratelimit.PerMinute(5), ratelimit.PerHour(20), ratelimit.PerDay(100)).OnFailure(ratelimit.FailClosed)
	perAddress = ratelimit.MustPolicy("login-address",
		ratelimit.PerMinute(20), ratelimit.PerHour(100)).OnFailure(ratelimit.FailClosed)
)

// byAddress counts an IPv6 /64 as one address, since one client has all of it. Behind a
// proxy every address would be the proxy's: then list the proxy in TrustedProxies, and
// set the header field that it writes.
var byAddress = ratelimit.MustByIP(ratelimit.IPOptions{})

var errThrottleDown = errors.New("wrong passwords can't be counted")

// throttle decides whether a password may be tried.
type throttle struct{ limiter *ratelimit.Limiter }

// An attempt is the result of trying a password.
type attempt struct {
	OK   bool
	Left int64         // further attempts before a pause
	Wait time.Duration // above 0: the password was not checked; try again after this time
}

// try runs verify, unless too many passwords were wrong. It charges the attempt before
// verify runs, and gives it back if the password was right. If attempts were counted
// afterwards, a hundred guesses sent at once would all pass. The name may be any text, so
// that the answers don't show which names exist. The error means that Redis did not
// answer.
func (t throttle) try(r *http.Request, name string, verify func() bool) (attempt, error) {
	address, err := byAddress(r)
	if err != nil {
		return attempt{}, err
	}
	charges := []ratelimit.Request{
		// The address comes first: a client that may not try must not take a permit from
		// the account, not even for a moment.
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

// account returns the key of an account for one address. It contains the length of the
// name, so that two pairs of name and address never have the same key.
func account(name, address string) string {
	return strconv.Itoa(len(name)) + ":" + name + address
}

// refund gives the charged permits back, even if the client hangs up.
func (t throttle) refund(ctx context.Context, charged []ratelimit.Decision) {
	if len(charged) == 0 {
		return
	}
	if _, err := t.limiter.RefundMany(context.WithoutCancel(ctx), charged); err != nil {
		slog.WarnContext(ctx, "login: an attempt stays counted until its window ends", "error", err)
	}
}
