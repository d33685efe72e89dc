package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/store"
)

// health knows whether Redis decides. It tells the observer and the log of losing and
// regaining it, once each, and keeps calls from waiting for a server that lets all wait
// in vain.
//
// A breaker of its own, since those that can be had count the calls that failed, and a
// call may fail because this process is busy, or because its caller had no time. Here a
// failure only raises the question; a call of the limiter's own, the probe, which has the
// whole budget, answers it. No call of a user is the trial, so none can be lost with it.
type health struct {
	observer Observer
	logger   *slog.Logger
	store    *store.Store
	local    *local // what to forget when Redis is regained
	start    time.Time

	// doubt is set from the first failure until all is well. Without it a call asks
	// nothing here.
	doubt  atomic.Bool
	mu     sync.Mutex // guards what follows
	lost   bool
	failed time.Duration // the last failure, since start
	nodes  map[string]*breaker
}

// breaker is what is known of one server: of several, one may be away and the others not.
type breaker struct {
	open     bool
	probing  bool
	answered bool          // it answered a call since the probe began
	next     time.Duration // no probe until then, since start
}

const (
	// retryEvery is how long a server that let a probe wait in vain is left alone.
	retryEvery = 500 * time.Millisecond

	// believedFor is how long a probe that was answered is enough of an answer to calls
	// that were not.
	believedFor = 100 * time.Millisecond

	// settled is how long without a failure makes Redis regained: of a cluster, some
	// shards answer all the time.
	settled = 500 * time.Millisecond
)

func newHealth(s *store.Store, observer Observer, logger *slog.Logger, local *local) *health {
	return &health{observer: observer, logger: logger, store: s, local: local, start: time.Now(), nodes: map[string]*breaker{}}
}

var errNotAsked = fmt.Errorf("%w: not asked, Redis does not answer", gatekit.ErrUnavailable)

// ask reports whether the server of the tag is worth asking: nil, or the reason why not,
// which is [gatekit.ErrUnavailable].
func (h *health) ask(tag store.Tag) error {
	if !h.doubt.Load() {
		return nil
	}
	node := h.store.Node(tag)
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.nodes[node]
	if b == nil || !b.open {
		return nil
	}
	h.probeLocked(node, b, tag)
	return errNotAsked
}

// call runs f, a call to the server of the tag, if that is worth asking, and returns its
// error. It holds nothing meanwhile that a panic of f could keep.
func (h *health) call(tag store.Tag, f func() error) error {
	err := h.ask(tag)
	if err == nil {
		err = f()
		h.report(tag, err)
	}
	return err
}

// callMany has f decide the calls whose servers are worth asking, together. Result and
// error i belong to call i.
func callMany[C, R any](h *health, calls []C, tag func(C) store.Tag, f func([]C) ([]R, []error)) ([]R, []error) {
	replies, errs := make([]R, len(calls)), make([]error, len(calls))
	asked, places := make([]C, 0, len(calls)), make([]int, 0, len(calls))
	for i, c := range calls {
		if errs[i] = h.ask(tag(c)); errs[i] == nil {
			asked, places = append(asked, c), append(places, i)
		}
	}
	if len(asked) == 0 {
		return replies, errs
	}
	rs, es := f(asked)
	for n, i := range places {
		replies[i], errs[i] = rs[n], es[n]
		h.report(tag(asked[n]), es[n])
	}
	return replies, errs
}

// report learns from a call that was asked.
func (h *health) report(tag store.Tag, err error) {
	if err == nil && !h.doubt.Load() {
		return
	}
	node := h.store.Node(tag)
	told := h.learn(node, tag, err)
	if told != nil {
		told()
	}
}

// hurried reports whether the caller's own deadline ended a call, or his leaving did,
// which says nothing about Redis.
func hurried(err error) bool {
	return (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) && !errors.Is(err, gatekit.ErrUnavailable)
}

// learn moves the breaker, and returns what has to be told, if anything.
func (h *health) learn(node string, tag store.Tag, err error) (tell func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.nodes[node]
	if b == nil {
		b = &breaker{}
		h.nodes[node] = b
	}
	if err == nil || errors.Is(err, gatekit.ErrRefused) { // a server that refuses answers
		b.answered, b.open = true, false
	} else if !b.open {
		h.probeLocked(node, b, tag)
	}
	switch {
	case err == nil:
		return h.upLocked()
	case hurried(err):
		return nil
	}
	return h.downLocked(err)
}

// probeLocked asks the server with the whole budget, if it is time to. The probe ends
// with the budget, so nobody has to stop it.
func (h *health) probeLocked(node string, b *breaker, tag store.Tag) {
	if b.probing || time.Since(h.start) < b.next {
		return
	}
	b.probing, b.answered = true, false
	h.doubt.Store(true)
	go func() {
		err := h.try(tag)
		if tell := h.probed(b, err); tell != nil {
			tell()
		}
	}()
}

// try is a probe whose panic, in a hook of the program, is an error: nobody is there to
// recover it.
func (h *health) try(tag store.Tag) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v", gatekit.ErrUnavailable, p)
		}
	}()
	return h.store.Probe(tag)
}

// probed moves the breaker. The server is away if the probe waited in vain, and everybody
// else meanwhile.
func (h *health) probed(b *breaker, err error) (tell func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b.probing, b.open = false, err != nil && !errors.Is(err, gatekit.ErrRefused) && !b.answered
	if b.open {
		b.next = time.Since(h.start) + retryEvery
		return h.downLocked(err)
	}
	b.next = time.Since(h.start) + believedFor
	h.settleLocked()
	return nil
}

// settleLocked ends the doubt when no server is away or asked, and Redis is not lost.
func (h *health) settleLocked() {
	doubt := h.lost
	for _, b := range h.nodes {
		doubt = doubt || b.open || b.probing
	}
	h.doubt.Store(doubt)
}

func (h *health) downLocked(err error) (tell func()) {
	h.failed = time.Since(h.start)
	h.doubt.Store(true)
	if h.lost {
		return nil
	}
	h.lost = true
	return func() {
		h.logger.Warn("gatekit: Redis does not decide, fail modes do", "error", err)
		if h.observer != nil {
			h.observer.Degraded(err)
		}
	}
}

func (h *health) isLost() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

func (h *health) upLocked() (tell func()) {
	if !h.lost || time.Since(h.start)-h.failed < settled {
		return nil
	}
	h.lost = false
	h.settleLocked()
	return func() {
		h.local.forgetLater(h.isLost)
		h.logger.Info("gatekit: Redis decides again")
		if h.observer != nil {
			h.observer.Recovered()
		}
	}
}
