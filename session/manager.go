package session

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/google/uuid"
)

// A Manager keeps the sessions of one kind of users. It is safe for concurrent use. It
// has no goroutines of its own and needs no closing. The caller closes the client of its
// Redis.
type Manager struct {
	cfg    Options
	values values
	store  *store.Store
	logger *slog.Logger
	legacy *legacy // nil: no other kit's sessions are read
	clock  clock
	epoch  epoch
	reads  health
	writes health

	types     types
	revoked   revocations
	misplaced atomic.Bool  // a handler or guard outside of the middleware was logged
	warned    atomic.Int64 // when cookies were last logged, ms since the program began; 0 is never
	// updates lets this process run one update of a value at a time, so that updates
	// don't make each other try again.
	updates turns
}

// New returns a manager of the sessions in kv. It does not connect. The error names the
// wrong field of cfg.
func New(kv *gatekit.Redis, cfg Options) (*Manager, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, errtext.Errorf("session", "%w", err)
	}
	s := store.Of(kv)
	if s == nil {
		return nil, errors.New("session: the Redis is nil: open it by gatekit.Open or gatekit.Connect")
	}
	if cfg.InsecureCookie {
		s.Logger().Warn("gatekit: InsecureCookie is on, sessions can be taken over on the network: for development only")
	}
	m := &Manager{cfg: cfg, values: newValues(cfg.Codec), store: s, logger: s.Logger()}
	if m.legacy, err = newLegacy(m); err != nil {
		return nil, errtext.Errorf("session", "%w", err)
	}
	m.epoch.patience = s.Budget() + s.Budget()/4
	m.epoch.fetch, m.epoch.failed = s.SessionGlobalEpoch, func(err error) { _ = m.unreadable("refresh the epoch", err) }
	return m, nil
}

// health is whether one kind of calls to Redis works. Reads and writes have one each: a
// replica, or a server with a full memory, answers reads only. Each of these answers
// would otherwise log that Redis works again.
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

// unreadable logs once that Redis does not answer a read, and returns the error for the
// caller.
func (m *Manager) unreadable(doing string, err error) error {
	m.reads.fails(m, "gatekit: sessions can't be read or written", err)
	return store.Doing(doing, err)
}

// unavailable does the same for a script that writes.
func (m *Manager) unavailable(doing string, err error) error {
	m.writes.fails(m, "gatekit: sessions can't be written", err)
	return store.Doing(doing, err)
}

// written takes the clock from the reply of a script. A script with the status OK has
// written; one that refused wrote nothing, so it does not show that writes work.
func (m *Manager) written(reply store.SessionReply) {
	m.clock.learn(reply.Now)
	if reply.Status == store.SessionOK {
		m.writes.works(m, "gatekit: sessions can be written again")
	}
}

// newPublicID returns a UUIDv7 as 22 characters. Sessions sort by their creation. The id
// is no secret.
func newPublicID() string {
	id := uuid.Must(uuid.NewV7())
	return base64.RawURLEncoding.EncodeToString(id[:])
}
