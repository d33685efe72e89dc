package session

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/google/uuid"
)

// A Manager keeps the sessions of one kind of users. It is safe for concurrent use, has
// no goroutines of its own and needs no closing; the Redis it is on stays the caller's.
type Manager struct {
	cfg    Options
	values values
	store  *store.Store
	logger *slog.Logger
	legacy *legacy       // nil: no other kit's sessions are read
	life   time.Duration // the longest that a session may have
	clock  clock
	epoch  epoch
	reads  health
	writes health

	types     types
	revoked   revocations
	misplaced atomic.Bool  // a handler or guard outside of the middleware was logged
	warned    atomic.Int64 // when the log was last told of cookies, ms since the program began; 0 is never
	// updates keeps the updates of one value by this process apart, so that they don't
	// make each other try again.
	updates turns
}

// New returns a manager of the sessions in kv. It does not connect. The error names the
// field of cfg that is wrong.
func New(kv *gatekit.Redis, cfg Options) (*Manager, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	s := store.Of(kv)
	if s == nil {
		return nil, errors.New("session: the Redis is nil: open it by gatekit.Open or gatekit.Connect")
	}
	if cfg.InsecureCookie {
		s.Logger().Warn("gatekit: InsecureCookie is on, sessions can be taken over on the network: for development only")
	}
	old, err := newLegacy(s, &cfg)
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	m := &Manager{cfg: cfg, values: newValues(cfg.Codec), store: s, logger: s.Logger(), legacy: old, life: maxLife}
	m.epoch.patience = s.Budget() + s.Budget()/4
	m.epoch.fetch, m.epoch.failed = s.SessionGlobalEpoch, func(err error) { _ = m.unreadable("refresh the epoch", err) }
	return m, nil
}

// clock follows Redis's clock, so that hosts whose own is wrong judge deadlines like all
// others. It keeps two offsets, to the wall clock and to the time since the program
// began, and goes by the one that is ahead: a stepped wall clock or a suspended host then
// costs a question too many, and never lets a session live too long.
type clock struct {
	wall, run atomic.Int64 // ms
	known     atomic.Bool
}

var programBegan = time.Now()

// learn takes the server's clock from a script's reply. The zero time is none.
func (c *clock) learn(server time.Time) {
	if server.IsZero() {
		return
	}
	ms := server.UnixMilli()
	c.wall.Store(ms - time.Now().UnixMilli())
	c.run.Store(ms - time.Since(programBegan).Milliseconds())
	c.known.Store(true)
}

// now returns the time by Redis's clock, in whole milliseconds, and whether that clock is
// known: before the first reply the time is this host's.
func (c *clock) now() (now time.Time, known bool) {
	known = c.known.Load()
	ms := time.Now().UnixMilli() + c.wall.Load()
	if known {
		ms = max(ms, time.Since(programBegan).Milliseconds()+c.run.Load())
	}
	return time.UnixMilli(ms), known
}

// now returns the time by Redis's clock, as far as it is known.
func (m *Manager) now() time.Time {
	now, _ := m.clock.now()
	return now
}

// epoch caches the global epoch for a second. Whoever finds it older asks Redis, and
// those who come meanwhile wait for that one answer, within their own context and the
// budget.
type epoch struct {
	fetch  func(context.Context) (int64, error)
	failed func(error)
	// patience is how long to wait for somebody else's answer: the budget, and a little
	// for the answer to get here.
	patience time.Duration

	mu    sync.Mutex // guards what follows
	value int64
	at    time.Time // when the value was asked for; zero: never
	asked *question // under way, or nil
}

type question struct {
	done   chan struct{} // closed when the rest is set
	value  int64
	err    error // nobody knows the epoch
	failed error // it could not be refreshed
}

const epochAge = time.Second

// get returns the epoch. When it can't be refreshed the last value stands; the error is
// for a process that has none yet.
func (e *epoch) get(ctx context.Context) (int64, error) {
	e.mu.Lock()
	if !e.at.IsZero() && time.Since(e.at) < epochAge {
		defer e.mu.Unlock()
		return e.value, nil
	}
	if q := e.asked; q != nil {
		e.mu.Unlock()
		return e.wait(ctx, q)
	}
	q := &question{done: make(chan struct{})}
	e.asked = q
	e.mu.Unlock()
	return e.ask(ctx, q)
}

// ask asks Redis for all who wait.
func (e *epoch) ask(ctx context.Context, q *question) (int64, error) {
	e.refresh(ctx, q)
	if q.failed != nil {
		e.failed(q.failed)
	}
	return q.value, q.err
}

// refresh answers the question whatever happens: a fetch that panics, in a hook of the
// client or in the client itself, has failed for those who wait.
func (e *epoch) refresh(ctx context.Context, q *question) {
	at, value, err := time.Now(), int64(0), errEpoch
	defer func() { e.answer(q, at, value, err) }()
	// The question is everybody's: it must not end with the request that happened to ask
	// it.
	value, err = e.fetch(context.WithoutCancel(ctx))
}

func (e *epoch) answer(q *question, at time.Time, value int64, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer close(q.done)
	e.asked = nil
	switch {
	case err == nil:
		e.raiseLocked(value, at)
	case e.at.IsZero():
		q.err = err
	default:
		q.failed = err
		e.at = at // not for each request again
	}
	q.value = e.value
}

// wait waits for an answer that somebody else asked for.
func (e *epoch) wait(ctx context.Context, q *question) (int64, error) {
	timer := time.NewTimer(e.patience)
	defer timer.Stop()
	select {
	case <-q.done:
		return q.value, q.err
	case <-ctx.Done():
	case <-timer.C:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.at.IsZero() {
		return 0, errEpoch
	}
	return e.value, nil
}

var errEpoch = fmt.Errorf("%w: the reading of the global epoch did not end", ErrUnavailable)

// raise notes an epoch that this process set or heard of.
func (e *epoch) raise(value int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.raiseLocked(value, time.Now())
}

func (e *epoch) raiseLocked(value int64, at time.Time) {
	e.value, e.at = max(e.value, value), at // a key that was lost does not bring sessions back
}

// health is whether one kind of calls to Redis works. Reads and writes have one each: a
// replica, or a full memory, answers the reads alone, and the log must not tell with each
// of them that all is well.
type health struct{ lost atomic.Bool }

func (h *health) fails(m *Manager, text string, err error) {
	if errors.Is(err, ErrUnavailable) && h.lost.CompareAndSwap(false, true) {
		m.logger.Warn(text, "error", err)
	}
}

func (h *health) works(m *Manager, text string) {
	if h.lost.Load() && h.lost.CompareAndSwap(true, false) {
		m.logger.Info(text)
	}
}

// unreadable reports a Redis that does not answer a read, to the log once, and returns
// the error for the caller.
func (m *Manager) unreadable(doing string, err error) error {
	m.reads.fails(m, "gatekit: sessions can't be read or written", err)
	return store.Doing(doing, err)
}

// unavailable is unreadable for a script that writes.
func (m *Manager) unavailable(doing string, err error) error {
	m.writes.fails(m, "gatekit: sessions can't be written", err)
	return store.Doing(doing, err)
}

// written takes up the reply of a script. One that refused has written nothing, and
// proves nothing about writes.
func (m *Manager) written(reply store.SessionReply) {
	m.clock.learn(reply.Now)
	if reply.Status == store.SessionOK {
		m.writes.works(m, "gatekit: sessions can be written again")
	}
}

// newPublicID returns a UUIDv7 as 22 characters: sessions sort by their creation, and the
// secret is elsewhere.
func newPublicID() string {
	id := uuid.Must(uuid.NewV7())
	return base64.RawURLEncoding.EncodeToString(id[:])
}
