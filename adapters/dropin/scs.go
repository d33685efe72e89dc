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
// A destroyed session stays destroyed, and so does the old token of a renewed one. A
// request that had read the session before gets [session.ErrGone] from its commit. scs
// answers that request by SessionManager.ErrorFunc, by default with 500. This store could
// drop the write in silence instead. But then scs would set the cookie with the dead
// token, over the cookie of a login in between, and the browser would be logged out. An
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
// The interface has three limits:
//
//   - Parallel requests lose updates: scs writes all values of a session at once, and the
//     last to write wins. The typed values of package session lose none.
//   - It doesn't say whether a token is new. So a request that reads a session before its
//     expiry and commits after it makes the session anew. A destroyed session stays
//     destroyed.
//   - scs wraps the ResponseWriter. A handler that flushes before it writes sends its
//     response without the cookie.
//
// It is safe for concurrent use.
type SCSStore struct{ blobs *blob.Store }

// NewSCSStore returns a store on the blobs. It panics when they are nil.
func NewSCSStore(blobs *blob.Store) *SCSStore {
	given.Must(blobs)
	return &SCSStore{blobs}
}

// FindCtx returns the data of a session, and whether there is one. The error is
// [session.ErrUnavailable]; scs then leaves the cookie and the session as they are.
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

// AllCtx returns the data of all sessions, for SessionManager.Iterate. Redis holds no
// tokens, so the map has handles instead. Iterate can read, change and destroy a session
// by its handle, but no browser gets in with one. AllCtx looks at every key in Redis.
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

// All is AllCtx with a context that never ends.
func (s *SCSStore) All() (map[string][]byte, error) {
	return s.blobs.All(context.Background())
}
