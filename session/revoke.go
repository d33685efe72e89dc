package session

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

// revocations are the revocations that this process made in the last minute. The login
// script compares times of Redis's clock. If a revocation and the check of the
// credentials are less than a round trip apart, it can't tell which came first, and
// refuses the login. For revocations by this process the order is known.
type revocations struct {
	mu   sync.Mutex // guards made
	made map[string]revocation
}

type revocation struct {
	epoch int64     // the epoch that it set
	at    time.Time // when the script had answered
}

const (
	revokedAge = time.Minute // longer than a login takes
	maxRevoked = 1024        // users
)

// note notes the epoch that a script of this process has set. If there are more than
// [maxRevoked] users, it drops the older revocations, and a login of their users may be
// refused once more than needed.
func (r *revocations) note(user string, epoch int64) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.made) >= maxRevoked {
		for u, old := range r.made {
			if now.Sub(old.at) > revokedAge {
				delete(r.made, u)
			}
		}
	}
	if r.made == nil || len(r.made) >= maxRevoked {
		r.made = map[string]revocation{}
	}
	if epoch > r.made[user].epoch {
		r.made[user] = revocation{epoch, now}
	}
}

// before returns the epoch of the user's revocation if it was made before the user
// presented the credentials, else 0.
func (r *revocations) before(user string, authenticated time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if made, ok := r.made[user]; ok && !authenticated.Before(made.at) {
		return made.epoch
	}
	return 0
}

// Revoke ends one session of the user, by its public id. It takes the user id too, so
// that nobody can end another user's session. If the session has ended, or is another
// user's, the error is [ErrGone].
func (m *Manager) Revoke(ctx context.Context, user, publicID string) error {
	if !isPublicID(publicID) {
		return ErrGone
	}
	found, err := m.store.SessionRevoke(ctx, userKeys(user), publicID)
	switch {
	case err != nil:
		return m.unavailable("revoke", err)
	case !found:
		return ErrGone
	}
	return nil
}

// RevokeUser ends all sessions of the user, also those whose login is under way, and
// returns how many it found. They are all over from its first command on. It deletes the
// first 100 at once, and the others page by page. If the call fails half-way, requests
// can still read the sessions that are left, but not write to them. Those end with their
// next write, with the next list, or when their use is noted, which is within 10 minutes.
// The same holds for sessions that Redis has lost from the user's list.
//
// A login later in the same request, such as the one that follows a new password, is not
// refused if ctx is the request's; otherwise see [LoginOptions.AuthenticatedAt]. The
// request's own session ends like the others, and its cookie stays. To log the visitor
// out everywhere, call [Session.LogoutEverywhere].
func (m *Manager) RevokeUser(ctx context.Context, user string) (int, error) {
	n, epoch, err := m.revoke(ctx, user, nil)
	if s, ok := m.find(ctx); ok && epoch > 0 {
		s.know(user, epoch)
	}
	return n, err
}

// revoke ends all sessions of the user except keep.
func (m *Manager) revoke(ctx context.Context, user string, keep *store.SessionKeys) (n int, epoch int64, err error) {
	global, err := m.epoch.get(ctx)
	if err != nil {
		return 0, 0, m.unavailable("revoke", err)
	}
	keys := userKeys(user)
	reply, err := m.store.SessionEpoch(ctx, keys, keep, global, maxLife)
	if err != nil {
		return 0, 0, m.unavailable("revoke", err)
	}
	if reply.Status != store.SessionOK {
		return 0, 0, ErrGone
	}
	m.revoked.note(user, reply.Epoch)
	n, epoch = reply.Revoked, reply.Epoch
	for cursor := reply.Next; cursor != ""; {
		var revoked int
		if revoked, cursor, err = m.store.SessionRevokePage(ctx, keys, epoch, cursor); err != nil {
			return n, epoch, m.unavailable("revoke", err)
		}
		n += revoked
	}
	return n, epoch, nil
}

// RevokeAll ends all sessions of all users and guests. This process knows at once, others
// within a second. Redis frees the memory as the records expire.
func (m *Manager) RevokeAll(ctx context.Context) error {
	epoch, err := m.store.SessionRevokeAll(ctx, maxLife)
	if err != nil {
		return m.unavailable("revoke all", err)
	}
	m.epoch.raise(epoch)
	return nil
}

func userKeys(user string) store.SessionKeys {
	return store.SessionKeys{Tag: token.UserTag(user), User: user}
}

func isPublicID(id string) bool {
	return len(id) == 22 && token.WellFormed(id)
}

// know notes the epoch that this request itself set, so that a login of the same request
// is not refused because of it.
func (s *Session) know(user string, epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.knowLocked(user, epoch)
}

func (s *Session) knowLocked(user string, epoch int64) {
	known := maps.Clone(s.known)
	if known == nil {
		known = map[string]int64{}
	}
	known[user] = epoch
	s.known = known
}
