package session

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/store"
)

// BlobConfig of [Blobs]; the zero value is ready to use.
type BlobConfig struct {
	// MaxBytes is the largest blob. 1 to 1 MiB; 0 means 64 KiB.
	MaxBytes int
}

const defaultBlobBytes = 64 << 10

// Blobs keeps sessions that somebody else encodes: one blob each, under a token. It is
// what the bridges to other session kits stand on (adapters/dropin for scs,
// adapters/gategorilla for gorilla); a program of its own has more of a [Manager].
//
// It holds what such an interface can carry:
//
//   - Redis has hashes of tokens, never a token. Blobs are stored as they come.
//   - Deleted stays deleted: [Blobs.Delete] leaves a tombstone for what is left of the
//     blob's life, at least 1 h and at most 24 h, so that a request which read the blob
//     before can't bring it back by committing late.
//   - A Redis that does not answer is an error, never an absent blob, and known within
//     the budget.
//   - The end of a blob is Redis's clock's: what counts is how far away it is when
//     [Blobs.Commit] is called.
//   - Every key has a TTL. Single server, Sentinel, Cluster and Ring.
//
// What no blob can have:
//
//   - Parallel requests that change different values of one session: the last to commit
//     wins, and the others' changes are lost. The values of a [Session] ([Key],
//     [Counter]) are written one by one and lose none.
//   - An idle deadline that also ends requests under way: whoever has read a blob before
//     it was over, and commits it after, makes it anew. [Blobs.Update] refuses to, for
//     callers that know that the blob was there.
//   - The user's devices, revocation of a user, rotation.
//
// It is safe for concurrent use and needs no closing; the Redis it is on stays the
// caller's.
type Blobs struct {
	store *store.Store
	bytes int
}

// NewBlobs returns a store of blobs in kv. It does not connect. The error names the field
// of cfg that is wrong. Two stores whose sessions must not be mixed, in [Blobs.All] too,
// need two prefixes: see [gatekit.Redis.With].
func NewBlobs(kv *gatekit.Redis, cfg BlobConfig) (*Blobs, error) {
	cfg.MaxBytes = or(cfg.MaxBytes, defaultBlobBytes)
	if cfg.MaxBytes < 1 || cfg.MaxBytes > maxBytes {
		return nil, fmt.Errorf("session: MaxBytes %d: want 1 to %d", cfg.MaxBytes, maxBytes)
	}
	s := store.Of(kv)
	if s == nil {
		return nil, errors.New("session: the Redis is nil: open it by gatekit.Open or gatekit.Connect")
	}
	return &Blobs{store: s, bytes: cfg.MaxBytes}, nil
}

// Find returns the blob of the token, and whether there is one: committed, not deleted
// and not over. Handles of [Blobs.All] find nothing. The error is [ErrUnavailable].
func (b *Blobs) Find(ctx context.Context, token string) (data []byte, found bool, err error) {
	key, handle := blobKey(token)
	if token == "" || handle {
		return nil, false, nil
	}
	text, found, err := b.store.BlobFind(ctx, key)
	if err != nil {
		return nil, false, blobError("read a blob", err)
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
// The error is [ErrGone] when the blob was deleted: nothing was written, and the cookie
// must stay as it is, since it may be another session's by now. It is [ErrTooLarge] for
// more than MaxBytes, and [ErrUnavailable]; where that is also
// [gatekit.ErrUnknownOutcome] the blob may have been written.
func (b *Blobs) Commit(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return b.commit(ctx, token, data, expiry, false)
}

// Update is Commit for a blob that the caller has found or committed before: if it is not
// there any more, deleted or over, the error is [ErrGone] as well.
func (b *Blobs) Update(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return b.commit(ctx, token, data, expiry, true)
}

func (b *Blobs) commit(ctx context.Context, token string, data []byte, expiry time.Time, present bool) error {
	if token == "" {
		return errors.New("session: write a blob: the token is empty")
	}
	if len(data) > b.bytes {
		return fmt.Errorf("session: write a blob of %d bytes, at most %d: %w", len(data), b.bytes, ErrTooLarge)
	}
	life := time.Until(expiry)
	if life < time.Millisecond {
		return b.Delete(ctx, token)
	}
	key, handle := blobKey(token)
	// A handle stands for a blob that was there; it must not become the token of another.
	written, err := b.store.BlobCommit(ctx, store.BlobCommit{Key: key, Data: data, Life: life, Present: present || handle})
	if err != nil {
		return blobError("write a blob", err)
	}
	if !written {
		return fmt.Errorf("session: write a blob: %w", ErrGone)
	}
	return nil
}

// Delete ends the blob of the token, and does nothing for the empty one. That there was
// no blob is no error. The error is [ErrUnavailable]: the blob may then be there still.
func (b *Blobs) Delete(ctx context.Context, token string) error {
	if token == "" {
		return nil
	}
	_, err := b.delete(ctx, token)
	return err
}

func (b *Blobs) delete(ctx context.Context, token string) (found bool, err error) {
	key, _ := blobKey(token)
	if found, err = b.store.BlobDelete(ctx, key); err != nil {
		return false, blobError("delete a blob", err)
	}
	return found, nil
}

// Replace writes the blob under a new token, drawn for it, and ends the old one, as each
// login has to. The errors are those of [Blobs.Update], and the new token is then
// nobody's: [ErrGone] means that the old blob was not there any more, or that the reply
// to its deletion was lost.
func (b *Blobs) Replace(ctx context.Context, old, token string, data []byte, expiry time.Time) error {
	if old == "" || old == token {
		return errors.New("session: replace a token: the old one is empty, or the new one")
	}
	// In this order nothing is lost when the process dies in between: the new token was
	// not handed out yet.
	if err := b.Commit(ctx, token, data, expiry); err != nil {
		return err
	}
	found, err := b.delete(ctx, old)
	if err == nil && !found {
		err = fmt.Errorf("session: replace a token: %w", ErrGone)
	}
	if err != nil {
		_, _ = b.delete(ctx, token) // if this fails too, the blob comes to its end by itself
	}
	return err
}

// All returns all blobs that are there, by handle: Redis doesn't know their tokens. A
// handle works as a token does in [Blobs.Commit], [Blobs.Update] and [Blobs.Delete], but
// not in [Blobs.Find]: it lets nobody in. All looks at every key of every master and
// holds all blobs in memory, so it is for maintenance; each step is within the budget,
// the whole ends with ctx. It needs the permission for SCAN.
func (b *Blobs) All(ctx context.Context) (map[string][]byte, error) {
	all := map[string][]byte{}
	err := b.store.BlobScan(ctx, func(tag store.Tag, data string) error {
		all[handleBegin+string(tag[:])] = []byte(data)
		return nil
	})
	if err != nil {
		return nil, blobError("read all blobs", err)
	}
	return all, nil
}

// handleBegin is what a handle has before the hash of the token.
const handleBegin = "handle:"

var handleForm = regexp.MustCompile(`^` + handleBegin + `([A-Za-z0-9_-]{22})$`)

// blobKey returns the key of a token, or that which a handle stands for.
func blobKey(token string) (key store.BlobKey, handle bool) {
	if m := handleForm.FindStringSubmatch(token); m != nil {
		copy(key.Tag[:], m[1])
		return key, true
	}
	return store.BlobKey{Tag: store.MakeTag("blob", token)}, false
}

func blobError(doing string, err error) error {
	return fmt.Errorf("session: %s: %w", doing, err)
}
