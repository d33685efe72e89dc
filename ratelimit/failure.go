package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/gatekit/gatekit/lua"
)

// health knows whether Redis decides. It tells the observer and the log of losing and regaining it, once each, and
// keeps calls from waiting for a server that just let others wait in vain.
type health struct {
	observer Observer
	logger   *slog.Logger
	again    func() // is called when Redis decides again
	lost     atomic.Bool
	failed   atomic.Int64 // the last failure, ns since start
	start    time.Time

	// breaker opens after breakAfter failures in a row, and lets one call try every retryEvery. It is nil for a cluster, where
	// the failures of one shard say nothing about the others, and is not asked while all is well.
	breaker *gobreaker.TwoStepCircuitBreaker[any]
}

const (
	breakAfter = 5
	retryEvery = 500 * time.Millisecond

	// settled is how long without a failure makes Redis regained: of a cluster, some shards answer all the time.
	settled = 500 * time.Millisecond
)

func newHealth(observer Observer, logger *slog.Logger, sharded bool, again func()) *health {
	h := &health{observer: observer, logger: logger, again: again, start: time.Now()}
	if !sharded {
		h.breaker = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
			Timeout:     retryEvery,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakAfter },
			// A server that refuses answers.
			IsSuccessful: func(err error) bool { return err == nil || errors.Is(err, lua.ErrRefused) },
			// One whose caller did not wait has shown nothing: neither that it is well nor that it is not.
			IsExcluded: func(err error) bool { return errors.Is(err, errCallerGone) },
		})
	}
	return h
}

var errCallerGone = errors.New("the caller's context ended before the budget")

// ask reports whether Redis is worth asking: nil, or the reason why not, which is [lua.ErrUnavailable]. The outcome of the
// call that follows goes to [asked.report].
func (h *health) ask() (asked, error) {
	if h.breaker == nil || !h.lost.Load() {
		return asked{health: h}, nil
	}
	done, err := h.breaker.Allow()
	if err != nil {
		return asked{}, fmt.Errorf("%w: not asked, the last calls failed", lua.ErrUnavailable)
	}
	return asked{health: h, done: done}, nil
}

// call runs f, a call to Redis, if Redis is worth asking, and returns its error. The place that [health.ask] gave is given
// back also when f panics, in a hook of the client or in the client itself: the breaker lets nobody else try meanwhile.
func (h *health) call(ctx context.Context, f func() error) error {
	asked, err := h.ask()
	if err != nil {
		return err
	}
	err = errPanicked
	defer func() {
		if err == errPanicked && asked.done != nil {
			asked.done(err)
		}
	}()
	err = f()
	asked.report(ctx, err)
	return err
}

// callMany is call for n calls at once, each with its error.
func (h *health) callMany(ctx context.Context, n int, f func() []error) (errs []error) {
	err := h.call(ctx, func() error {
		errs = f()
		return firstError(errs)
	})
	if errs == nil {
		errs = slices.Repeat([]error{err}, n)
	}
	return errs
}

var errPanicked = errors.New("the call panicked")

// asked is a call that was let through.
type asked struct {
	health *health
	done   func(error)
}

func (a asked) report(ctx context.Context, err error) {
	if a.done != nil {
		if err != nil && ctx.Err() != nil {
			a.done(errCallerGone)
		} else {
			a.done(err)
		}
	}
	if err != nil {
		a.health.down(err)
	} else if a.health.lost.Load() {
		a.health.up()
	}
}

func (h *health) down(err error) {
	h.failed.Store(int64(time.Since(h.start)))
	if !h.lost.CompareAndSwap(false, true) {
		return
	}
	h.logger.Warn("gatekit: Redis does not decide, fail modes do", "error", err)
	if h.observer != nil {
		h.observer.Degraded(err)
	}
}

func (h *health) up() {
	if time.Since(h.start)-time.Duration(h.failed.Load()) < settled || !h.lost.CompareAndSwap(true, false) {
		return
	}
	h.again()
	h.logger.Info("gatekit: Redis decides again")
	if h.observer != nil {
		h.observer.Recovered()
	}
}
