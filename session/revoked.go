package session

import (
	"sync"
	"time"
)

// revocations are those that this process made of late. A login goes by Redis's clock,
// and can tell to within a round trip only whether the user's sessions were revoked
// before or after the credentials were checked: it is refused then. Of a revocation by
// this process, which had returned before, the order is known.
type revocations struct {
	mu   sync.Mutex // guards made
	made map[string]revocation
}

type revocation struct {
	epoch int64     // that it set
	at    time.Time // when the script had answered
}

const (
	revokedAge = time.Minute // longer than all round trips of a login
	maxRevoked = 1024        // users
)

// note notes the epoch that a script of this process has set. Beyond [maxRevoked] users
// none are kept that are older, and their logins may be refused once more than needed.
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

// before returns the epoch of the user's revocation that was made before the credentials
// were presented, or 0.
func (r *revocations) before(user string, authenticated time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if made, ok := r.made[user]; ok && !authenticated.Before(made.at) {
		return made.epoch
	}
	return 0
}
