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

// health knows whether Redis decides. It tells the observer and the log once when Redis
// is lost and once when it is back. While a server answers nobody, health keeps calls
// from waiting for it.
//
// We have a breaker of our own because the libraries count failed calls. A call may also
// fail because this process is busy, or because its caller had no time. Here a failure
// only starts a probe: a call of the limiter's own that has the whole budget. The probe
// alone opens the breaker. No user's call is the trial, so no user's call is lost with
// it.
type health struct {
	observer Observer
	logger   *slog.Logger
	store    *store.Store
	local    *local // what to forget when Redis is regained
	start    time.Time

	// doubt is set from the first failure until all servers answer. While it is not set,
	// a call does not take the mutex.
	doubt  atomic.Bool
	mu     sync.Mutex // guards what follows
	lost   bool
	failed time.Duration // the last failure, since start
	nodes  map[string]*breaker
}

// breaker is the state of one server. On a cluster one server may be away while the
// others answer.
type breaker struct {
	open     bool
	probing  bool
	answered bool          // it answered a call since the probe began
	next     time.Duration // no probe until then, since start
}

const (
	// retryEvery is how long a server that let a probe wait in vain is left alone.
	retryEvery = 500 * time.Millisecond

	// believedFor is how long an answered probe stands. Calls that fail meanwhile start
	// no other probe.
	believedFor = 100 * time.Millisecond

	// settled is how long no call may fail before Redis counts as back. One answer is not
	// enough: on a cluster the healthy shards answer all the time.
	settled = 500 * time.Millisecond
)

func newHealth(s *store.Store, observer Observer, logger *slog.Logger, local *local) *health {
	return &health{observer: observer, logger: logger, store: s, local: local, start: time.Now(), nodes: map[string]*breaker{}}
}

var errNotAsked = fmt.Errorf("%w: not asked, Redis does not answer", gatekit.ErrUnavailable)

// ask returns nil if the call may be sent to the tag's server, else an error that is
// [gatekit.ErrUnavailable].
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

// call runs f, a call to the tag's server, unless the breaker is open, and returns its
// error. It holds no lock while f runs, so a panic of f leaves nothing locked.
func (h *health) call(tag store.Tag, f func() error) error {
	err := h.ask(tag)
	if err == nil {
		err = f()
		h.report(tag, err)
	}
	return err
}

// callMany passes to f, together, the calls whose servers' breakers are closed. Result i
// and error i belong to call i.
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

// report takes up the result of a call that was sent.
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

// hurried reports whether the caller's own deadline or cancellation ended a call. That
// says nothing about Redis.
func hurried(err error) bool {
	return (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) && !errors.Is(err, gatekit.ErrUnavailable)
}

// learn updates the breaker. It returns a function that tells the observer and the log,
// or nil; call it without the mutex.
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

// probeLocked starts a probe of the server unless one is under way or was a moment ago.
// The probe ends with the budget, so nobody has to stop it.
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

// try sends the probe. A panic in one of the program's hooks becomes an error, because
// nobody else recovers on this goroutine.
func (h *health) try(tag store.Tag) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v", gatekit.ErrUnavailable, p)
		}
	}()
	return h.store.Probe(tag)
}

// probed updates the breaker with the result of a probe. The server is away if it
// answered neither the probe nor any other call meanwhile.
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

// settleLocked clears doubt when no breaker is open, no probe is under way and Redis is
// not lost.
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
