// Package blob keeps sessions that another session kit encodes: one blob for each, under
// a token. The bridges to other kits use it (adapters/dropin for scs,
// adapters/gategorilla for gorilla). A program without such a kit should use package
// session.
//
//	kv, err := gatekit.Connect(ctx, os.Getenv("REDIS_URL"), gatekit.Options{})
//	blobs, err := blob.New(kv, blob.Options{})
//	store := dropin.NewSCSStore(blobs) // or gategorilla.New(blobs, ...)
//
// A [Store] promises what the interfaces of those kits allow:
//
//   - Redis has hashes of tokens, never a token. Blobs are stored as they are passed.
//   - Deleted stays deleted: [Store.Delete] leaves a tombstone for what is left of the
//     blob's life, at least 1 h and at most 24 h. A request that read the blob before
//     can't bring it back by committing late.
//   - If Redis does not answer, a call returns an error, never an absent blob, within
//     the budget.
//   - Expiry is measured by Redis's clock: [Store.Commit] sends the time until expiry.
//   - Every key has a TTL. Single server, Sentinel, Cluster and Ring.
//
// A blob cannot offer:
//
//   - Parallel requests that change different values of one session. The last to commit
//     wins, and the others' changes are lost. The values of a [session.Session] are
//     written one by one and lose none.
//   - An idle deadline that also ends requests under way. A request that read a blob
//     before it expired, and commits it later, makes it anew. [Store.Update] refuses to,
//     for callers that know that the blob existed.
//   - The list of a user's devices, revocation of a user, rotation.
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

// A Store keeps blobs in Redis. It is safe for concurrent use and needs no closing. The
// caller closes the client of its Redis.
type Store struct {
	store *store.Store
	bytes int
}

// New returns a store of blobs in kv. It does not connect. The error names the wrong
// field of opts. If the sessions of two stores must not mix, also in [Store.All], the
// stores need two prefixes: see [gatekit.Redis.With].
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
// and not expired. It finds nothing for a handle of [Store.All]. The error is
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

// Commit writes the whole blob of the token, and makes a new one if there is none. The
// blob lives until expiry; an expiry in the past deletes it. Tokens are secrets: 128
// random bits or more, each used for one session.
//
// The error is [session.ErrGone] if the blob was deleted. Nothing was written then, and
// the caller must leave the cookie as it is, since it may be another session's by now.
// The error is [session.ErrTooLarge] for more than MaxBytes. It is
// [gatekit.ErrUnavailable] if Redis did not answer; if it is also
// [gatekit.ErrUnknownOutcome], the blob may have been written.
func (b *Store) Commit(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return b.commit(ctx, token, data, expiry, false)
}

// Update is Commit for a blob that the caller found or committed before. If the blob does
// not exist any more, deleted or expired, the error is [session.ErrGone].
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
	// A handle stands for a blob that existed. It must not become the token of another.
	written, err := b.store.BlobCommit(ctx, store.BlobCommit{Key: key, Data: data, Life: life, Present: present || handle})
	if err != nil {
		return failed("write", err)
	}
	if !written {
		return errtext.Errorf("blob", "write: %w", session.ErrGone)
	}
	return nil
}

// Delete deletes the blob of the token. It returns nil for the empty token, and if there
// was no blob. The error is [gatekit.ErrUnavailable]: the blob may still exist then.
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

// Replace writes the blob under a new token, and deletes the blob of the old one, as
// every login has to. The caller has drawn the new token for this call. The errors are
// those of [Store.Update]. After an error nobody may use the new token. [session.ErrGone]
// means that the old blob did not exist any more, or that the reply to its deletion was
// lost.
func (b *Store) Replace(ctx context.Context, old, token string, data []byte, expiry time.Time) error {
	if old == "" || old == token {
		return errors.New("blob: replace a token: the old one is empty, or the new one")
	}
	// In this order nothing is lost if the process dies in between: no client has the new
	// token yet.
	if err := b.Commit(ctx, token, data, expiry); err != nil {
		return err
	}
	found, err := b.delete(ctx, old)
	if err == nil && !found {
		err = errtext.Errorf("blob", "replace a token: %w", session.ErrGone)
	}
	if err != nil {
		_, _ = b.delete(ctx, token) // if this fails too, the blob expires by itself
	}
	return err
}

// All returns all existing blobs by handle, because Redis doesn't know their tokens.
// [Store.Commit], [Store.Update] and [Store.Delete] take a handle in place of a token.
// [Store.Find] does not, so a handle logs nobody in. All looks at every key of every
// master and holds all blobs in memory, so it is for maintenance. The budget limits each
// step, and ctx limits the whole call. The user of Redis needs the permission for SCAN.
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

// handleBegin is the beginning of a handle. The hash of the token follows.
const handleBegin = "handle:"

var handleForm = regexp.MustCompile(`^` + handleBegin + `([A-Za-z0-9_-]{22})$`)

// keyOf returns the key of a token, or of the blob that a handle stands for.
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
