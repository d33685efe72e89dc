// Package blob keeps sessions that somebody else encodes: one blob each, under a token.
// The bridges to other session kits stand on it (adapters/dropin for scs,
// adapters/gategorilla for gorilla). A program of its own has more of package session.
//
//	kv, err := gatekit.Connect(ctx, os.Getenv("REDIS_URL"), gatekit.Options{})
//	blobs, err := blob.New(kv, blob.Options{})
//	store := dropin.NewSCSStore(blobs) // or gategorilla.New(blobs, ...)
//
// A [Store] holds what the interfaces of those kits can carry:
//
//   - Redis has hashes of tokens, never a token. Blobs are stored as they come.
//   - Deleted stays deleted: [Store.Delete] leaves a tombstone for what is left of the
//     blob's life, at least 1 h and at most 24 h. A request that read the blob before
//     can't bring it back by committing late.
//   - A Redis that does not answer is an error, never an absent blob, and known within
//     the budget.
//   - Expiry is measured by Redis's clock: [Store.Commit] sends the time until expiry.
//   - Every key has a TTL. Single server, Sentinel, Cluster and Ring.
//
// No blob can have:
//
//   - Parallel requests that change different values of one session. The last to commit
//     wins, and the others' changes are lost. The values of a [session.Session] are
//     written one by one and lose none.
//   - An idle deadline that also ends requests under way. A request that has read a blob
//     before it was over, and commits it after, makes it anew. [Store.Update] refuses to,
//     for callers that know that the blob was there.
//   - The user's devices, revocation of a user, rotation.
package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session"
)

// Options of a [Store]. The zero value is ready to use.
type Options struct {
	// MaxBytes is the largest blob. 1 to 1 MiB; 0 means 64 KiB.
	MaxBytes int
}

const (
	defaultBytes = 64 << 10
	maxBytes     = 1 << 20
)

// A Store keeps blobs in Redis. It is safe for concurrent use and needs no closing; the
// Redis it is on stays the caller's.
type Store struct {
	store *store.Store
	bytes int
}

// New returns a store of blobs in kv. It does not connect. The error names the field of
// opts that is wrong. Two stores whose sessions must not be mixed, in [Store.All] too,
// need two prefixes: see [gatekit.Redis.With].
func New(kv *gatekit.Redis, opts Options) (*Store, error) {
	opts.MaxBytes = cmp.Or(opts.MaxBytes, defaultBytes)
	if opts.MaxBytes < 1 || opts.MaxBytes > maxBytes {
		return nil, fmt.Errorf("blob: MaxBytes %d: want 1 to %d", opts.MaxBytes, maxBytes)
	}
	s := store.Of(kv)
	if s == nil {
		return nil, errors.New("blob: the Redis is nil: open it by gatekit.Open or gatekit.Connect")
	}
	return &Store{store: s, bytes: opts.MaxBytes}, nil
}

// Find returns the blob of the token, and whether there is one: committed, not deleted
// and not over. Handles of [Store.All] find nothing. The error is
// [gatekit.ErrUnavailable].
func (b *Store) Find(ctx context.Context, token string) (data []byte, found bool, err error) {
	key, handle := keyOf(token)
	if token == "" || handle {
		return nil, false, nil
	}
	text, found, err := b.store.BlobFind(ctx, key)
	if err != nil {
		return nil, false, failed("read", err)
	}
	if !found {
		return nil, false, nil
	}
	return []byte(text), true, nil
}

// Commit writes the blob of the token as a whole, a new one too, and lets it live until
// expiry; one that has passed deletes the blob. Tokens are secrets: 128 random bits or
// more, each used for one session.
//
// The error is [session.ErrGone] when the blob was deleted: nothing was written, and the
// cookie must stay as it is, since it may be another session's by now. It is
// [session.ErrTooLarge] for more than MaxBytes, and [gatekit.ErrUnavailable]; where that
// is also [gatekit.ErrUnknownOutcome] the blob may have been written.
func (b *Store) Commit(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return b.commit(ctx, token, data, expiry, false)
}

// Update is Commit for a blob that the caller has found or committed before: if it is not
// there any more, deleted or over, the error is [session.ErrGone] as well.
func (b *Store) Update(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return b.commit(ctx, token, data, expiry, true)
}

func (b *Store) commit(ctx context.Context, token string, data []byte, expiry time.Time, present bool) error {
	if token == "" {
		return errors.New("blob: write: the token is empty")
	}
	if len(data) > b.bytes {
		return errtext.Errorf("blob", "write of %d bytes, at most %d: %w", len(data), b.bytes, session.ErrTooLarge)
	}
	life := time.Until(expiry)
	if life < time.Millisecond {
		return b.Delete(ctx, token)
	}
	key, handle := keyOf(token)
	// A handle stands for a blob that was there; it must not become the token of another.
	written, err := b.store.BlobCommit(ctx, store.BlobCommit{Key: key, Data: data, Life: life, Present: present || handle})
	if err != nil {
		return failed("write", err)
	}
	if !written {
		return errtext.Errorf("blob", "write: %w", session.ErrGone)
	}
	return nil
}

// Delete ends the blob of the token, and does nothing for the empty one. That there was
// no blob is no error. The error is [gatekit.ErrUnavailable]: the blob may then be there
// still.
func (b *Store) Delete(ctx context.Context, token string) error {
	if token == "" {
		return nil
	}
	_, err := b.delete(ctx, token)
	return err
}

func (b *Store) delete(ctx context.Context, token string) (found bool, err error) {
	key, _ := keyOf(token)
	if found, err = b.store.BlobDelete(ctx, key); err != nil {
		return false, failed("delete", err)
	}
	return found, nil
}

// Replace writes the blob under a new token, drawn for it, and ends the old one, as each
// login has to. The errors are those of [Store.Update], and the new token is then
// nobody's: [session.ErrGone] means that the old blob was not there any more, or that the
// reply to its deletion was lost.
func (b *Store) Replace(ctx context.Context, old, token string, data []byte, expiry time.Time) error {
	if old == "" || old == token {
		return errors.New("blob: replace a token: the old one is empty, or the new one")
	}
	// In this order nothing is lost when the process dies in between: the new token was
	// not handed out yet.
	if err := b.Commit(ctx, token, data, expiry); err != nil {
		return err
	}
	found, err := b.delete(ctx, old)
	if err == nil && !found {
		err = errtext.Errorf("blob", "replace a token: %w", session.ErrGone)
	}
	if err != nil {
		_, _ = b.delete(ctx, token) // if this fails too, the blob comes to its end by itself
	}
	return err
}

// All returns all blobs that are there, by handle: Redis doesn't know their tokens. A
// handle works as a token does in [Store.Commit], [Store.Update] and [Store.Delete], but
// not in [Store.Find]: it lets nobody in. All looks at every key of every master and
// holds all blobs in memory, so it is for maintenance; each step is within the budget,
// the whole ends with ctx. It needs the permission for SCAN.
func (b *Store) All(ctx context.Context) (map[string][]byte, error) {
	all := map[string][]byte{}
	err := b.store.BlobScan(ctx, func(tag store.Tag, data string) error {
		all[handleBegin+string(tag[:])] = []byte(data)
		return nil
	})
	if err != nil {
		return nil, failed("read all", err)
	}
	return all, nil
}

// handleBegin is what a handle has before the hash of the token.
const handleBegin = "handle:"

var handleForm = regexp.MustCompile(`^` + handleBegin + `([A-Za-z0-9_-]{22})$`)

// keyOf returns the key of a token, or that which a handle stands for.
func keyOf(token string) (key store.BlobKey, handle bool) {
	if m := handleForm.FindStringSubmatch(token); m != nil {
		copy(key.Tag[:], m[1])
		return key, true
	}
	return store.BlobKey{Tag: store.MakeTag("blob", token)}, false
}

func failed(doing string, err error) error {
	return store.Doing("blob: "+doing, err)
}
