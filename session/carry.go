package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

const (
	// minLegacyID is the shortest id of an old session, in bytes. A shorter one is not
	// secret enough to derive a token from.
	minLegacyID = 16

	// clocksDiffer is added to the life of an old session. Redis remembers for that sum
	// that the session was carried over.
	clocksDiffer = time.Minute
)

// legacy finds the sessions of another kit and makes them ours. A nil legacy finds none.
type legacy struct {
	m      *Manager
	reader Legacy
	cookie http.Cookie
	store  *store.Store
}

func newLegacy(m *Manager) (*legacy, error) {
	cfg, s := &m.cfg, m.store
	if cfg.Legacy == nil {
		return nil, nil
	}
	if err := given.Option("Options.Legacy", cfg.Legacy); err != nil {
		return nil, err
	}
	l := &legacy{m: m, reader: cfg.Legacy, cookie: cfg.Legacy.Cookie()}
	if l.cookie.Name == "" || l.cookie.Name == cfg.Cookie.Name {
		return nil, fmt.Errorf("Options.Legacy: cookie name %q: want one, and not that of Cookie", l.cookie.Name)
	}
	l.store = s
	if cfg.LegacyClient == nil {
		return l, nil
	}
	var err error
	if l.store, err = store.New(cfg.LegacyClient, store.Options{Budget: s.Budget(), Logger: s.Logger()}); err != nil {
		return nil, fmt.Errorf("Options.LegacyClient: %w", err)
	}
	return l, nil
}

// brings reports whether the request has a cookie of the old kit.
func (l *legacy) brings(r *http.Request) bool {
	if l == nil {
		return false
	}
	_, err := r.Cookie(l.cookie.Name)
	return err == nil
}

// forget returns the Set-Cookie line that removes the old kit's cookie.
func (l *legacy) forget(insecure bool) string {
	c := l.cookie
	c.Value, c.Expires, c.MaxAge, c.HttpOnly, c.Secure = "", time.Time{}, -1, true, !insecure
	return c.String()
}

var errReading = errors.New("session: a Legacy reader can't ask for the session, which it is about to find")

// read calls the reader. If the store did not answer, read returns that error, whichever
// error the reader returns.
func (l *legacy) read(ctx context.Context, r *http.Request) (old LegacySession, found bool, err error) {
	var lost error
	// There is no session yet.
	ctx = context.WithValue(ctx, contextKey{}, &Session{view: view{state: failed, err: errReading}})
	old, found, err = l.reader.Read(ctx, r, func(ctx context.Context, key string) (LegacyValue, bool, error) {
		v, err := l.store.ForeignGet(ctx, key)
		if err != nil {
			lost = err
		}
		return LegacyValue{Data: v.Data, Left: v.Left}, v.Found, err
	})
	if lost != nil {
		return LegacySession{}, false, lost
	}
	return old, found, err
}

// find reads the old session that the request's cookie names, and returns it as one of
// ours. The token is derived from the old id. So all requests that come with the old
// cookie make one session, and if a response is lost, the next request gets the same
// token again. began is when the request began.
func (l *legacy) find(ctx context.Context, r *http.Request, began time.Time) view {
	old, found, err := l.read(ctx, r)
	var t token.Token
	var call store.SessionCarry
	if err == nil && found {
		t, call, err = l.translate(old, r, began)
	}
	switch {
	case errors.Is(err, ErrUnavailable):
		return view{state: failed, err: l.m.unreadable("read the old session", err)}
	case err != nil:
		// The error must not lock the visitor out. Nothing is lost: a program that
		// understands the old session will find it again.
		l.m.logger.WarnContext(ctx, "gatekit: an old session can't be carried over", "error", err)
		return view{state: none}
	case !found || t.IsZero():
		return view{state: none}
	}
	return l.carry(ctx, t, call)
}

// carry makes the new session, unless an earlier request did, and reads it.
func (l *legacy) carry(ctx context.Context, t token.Token, call store.SessionCarry) view {
	m := l.m
	epoch, err := m.epoch.get(ctx)
	if err != nil {
		return view{state: failed, err: m.unavailable("carry over", err)}
	}
	if epoch > 0 && epoch >= m.now().UnixMicro()-time.Since(call.Authenticated).Microseconds() {
		return view{state: none} // all sessions were revoked since
	}
	call.GlobalEpoch = epoch
	reply, err := m.store.SessionCarry(ctx, call)
	if err != nil {
		return view{state: failed, err: m.unavailable("carry over", err)}
	}
	m.written(reply.SessionReply)
	switch reply.Status {
	case store.SessionOK:
	case store.SessionSuperseded:
		return view{state: superseded}
	case store.SessionCapReached:
		m.logger.WarnContext(ctx, "gatekit: an old session can't be carried over", "error", ErrCapReached)
		return view{state: none}
	default: // the session that was made before has ended, or the user was revoked
		return view{state: none}
	}
	// Another request may have made the record before, and its token may be replaced
	// since. That token is refused, but the session is not revoked: the old cookie may
	// come at any time, so this proves no theft.
	got := m.fetch(ctx, t, replayRefused)
	if got.state == missing {
		return view{state: none}
	}
	got.token = t
	return got
}

// translate returns the token of the new session and the arguments of the script that
// makes it. The token is zero if the old session has expired.
func (l *legacy) translate(old LegacySession, r *http.Request, began time.Time) (t token.Token, call store.SessionCarry, err error) {
	m := l.m
	switch {
	case len(old.ID) < minLegacyID:
		return t, call, fmt.Errorf("session: id of %d bytes: want %d or more", len(old.ID), minLegacyID)
	case len(old.UserID) > maxUserID:
		return t, call, fmt.Errorf("session: user id of %d bytes: want at most %d", len(old.UserID), maxUserID)
	}
	left := maxLife
	if !old.Expires.IsZero() {
		left = min(left, time.Until(old.Expires))
	}
	if left < time.Millisecond {
		return t, call, nil
	}
	life, at := m.cfg.Lifetime, old.AuthTime
	switch {
	case old.UserID == "":
		life = m.cfg.Guest
	case old.Persistent:
		life = m.cfg.Remember
	}
	if at.IsZero() || old.UserID == "" {
		at = time.Unix(0, 0)
	}
	life.AbsoluteTimeout = min(life.AbsoluteTimeout, left)
	t = token.Derive(old.ID, old.UserID)
	values, err := m.encodeAll(t.Member(), old.Values)
	if err != nil {
		return t, call, err
	}
	if how := writeLifetime(life); how != "" {
		values = append(values, store.Field{Name: lifetimeField, Value: how})
	}
	login := m.newLogin(r, began, t, old.UserID, life, LoginOptions{AuthenticatedAt: at})
	login.Values = values
	return t, store.SessionCarry{
		SessionNew: login.SessionNew, SessionOwner: login.SessionOwner, Old: old.ID, OldLife: left + clocksDiffer,
	}, nil
}

// encodeAll encodes the values of an old session, sorted by name.
func (m *Manager) encodeAll(member string, old map[string]any) (values []store.Field, err error) {
	size := 0
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if err := checkName(name); err != nil {
			return nil, errtext.Errorf("session", "%w", err)
		}
		data, err := m.values.encode(member, name, old[name])
		if err != nil {
			return nil, err
		}
		if size += len(name) + len(data); size > m.cfg.MaxBytes {
			return nil, errtext.Errorf("session", "value %q of %d bytes, session of %d or more, at most %d: %w",
				name, len(data), size, m.cfg.MaxBytes, ErrTooLarge)
		}
		values = append(values, store.Field{Name: name, Value: string(data)})
	}
	return values, nil
}
