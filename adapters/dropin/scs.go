package dropin

import (
	"context"
	"time"

	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/session/blob"
)

// SCSStore keeps the sessions of alexedwards/scs. It is a Store, CtxStore, IterableStore
// and IterableCtxStore:
//
//	sessions.Store = dropin.NewSCSStore(blobs) // sessions is the *scs.SessionManager
//
// A session that was destroyed, or whose token was renewed, stays so: a request that had
// read it before gets [session.ErrGone] from its commit, and scs answers it by
// SessionManager.ErrorFunc, by default with 500. The alternative would be to drop the
// write in silence. But then scs sets the cookie with the dead token, over that of the
// login or the new session that came in between, and the browser is logged out. An
// ErrorFunc of your own answers 409 or 401:
//
//	sessions.ErrorFunc = func(w http.ResponseWriter, r *http.Request, err error) {
//		switch {
//		case errors.Is(err, session.ErrGone):
//			http.Error(w, "session is over", http.StatusConflict)
//		case errors.Is(err, session.ErrUnavailable):
//			http.Error(w, "try again", http.StatusServiceUnavailable)
//		default:
//			http.Error(w, "internal error", http.StatusInternalServerError)
//		}
//	}
//
// What the interface can't carry:
//
//   - Parallel requests lose updates: scs writes all values of a session at once, and the
//     last to write wins. The typed values of package session lose none.
//   - It doesn't say whether a token is new. So a session that came to its end, and was
//     not destroyed, is made anew by a request that had read it before the end and
//     commits after it.
//   - scs wraps the ResponseWriter such that a handler that flushes before it writes
//     sends its response without cookie.
//
// It is safe for concurrent use.
type SCSStore struct{ blobs *blob.Store }

// NewSCSStore returns a store on the blobs. It panics when they are nil.
func NewSCSStore(blobs *blob.Store) *SCSStore {
	given.Must(blobs)
	return &SCSStore{blobs}
}

// FindCtx returns the data of a session, and whether there is one. The error is
// [session.ErrUnavailable]: nothing is known then, and scs leaves cookie and session as
// they are.
func (s *SCSStore) FindCtx(ctx context.Context, token string) (b []byte, found bool, err error) {
	return s.blobs.Find(ctx, token)
}

// CommitCtx writes a session that lives until expiry. See [blob.Store.Commit] for the
// errors.
func (s *SCSStore) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	return s.blobs.Commit(ctx, token, b, expiry)
}

// DeleteCtx ends a session for good. The error is [session.ErrUnavailable].
func (s *SCSStore) DeleteCtx(ctx context.Context, token string) error {
	return s.blobs.Delete(ctx, token)
}

// AllCtx returns the data of all sessions, for SessionManager.Iterate, by handles instead
// of tokens, which Redis doesn't have: in Iterate a session can be read, changed and
// destroyed, but nobody gets in with what SessionManager.Token returns there. It looks at
// every key in Redis.
func (s *SCSStore) AllCtx(ctx context.Context) (map[string][]byte, error) {
	return s.blobs.All(ctx)
}

// Find is FindCtx within the budget of the blobs.
func (s *SCSStore) Find(token string) (b []byte, found bool, err error) {
	return s.blobs.Find(context.Background(), token)
}

// Commit is CommitCtx within the budget of the blobs.
func (s *SCSStore) Commit(token string, b []byte, expiry time.Time) error {
	return s.blobs.Commit(context.Background(), token, b, expiry)
}

// Delete is DeleteCtx within the budget of the blobs.
func (s *SCSStore) Delete(token string) error {
	return s.blobs.Delete(context.Background(), token)
}

// All is AllCtx without an end to its patience.
func (s *SCSStore) All() (map[string][]byte, error) {
	return s.blobs.All(context.Background())
}
