package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A blob is bytes under a hashed name, written as a whole. It holds a session of another
// kit.

const (
	// A tombstone must outlive the requests that were under way when the blob was
	// deleted, streams included. It lives for the rest of the blob's life, within these
	// bounds.
	blobTombstoneLeast = time.Hour
	blobTombstoneMost  = 24 * time.Hour

	// blobPage is how many keys of a server one step of [Store.BlobScan] looks at.
	blobPage = 200
)

// BlobKey names a blob to the blob scripts.
type BlobKey struct {
	Tag Tag // see [MakeTag]

	// Now replaces the server's clock, unix ms. Only tests set it; 0 asks the server.
	Now int64
}

// BlobFind returns the data of the blob. found reports whether the blob is there: it was
// written, not deleted, and has not expired.
func (s *Store) BlobFind(ctx context.Context, key BlobKey) (data string, found bool, err error) {
	c := s.beginBlob(ctx, blobFind, key)
	r, err := s.doText(c, 2)
	if err != nil {
		return "", false, err
	}
	return r[1], r[0] == "1", nil
}

// A BlobCommit is the writing of a blob.
type BlobCommit struct {
	Key     BlobKey       // of the blob
	Data    []byte        // any bytes; not changed
	Life    time.Duration // from now on, 1 ms or more
	Present bool          // write only if the blob is there
}

// BlobCommit writes the blob, over an older one if there is one, and reports whether it
// did. It does not write over a tombstone. After an [ErrUnknownOutcome] the blob may have
// been written.
func (s *Store) BlobCommit(ctx context.Context, commit BlobCommit) (written bool, err error) {
	if commit.Life < time.Millisecond {
		return false, errors.New("gatekit: blob_commit: Life: want 1ms or more")
	}
	c := s.beginBlob(ctx, blobCommit, commit.Key)
	c.words = append(c.words, milliseconds(commit.Life), btoi(commit.Present), commit.Data)
	r, err := s.do(c, 1)
	if err != nil {
		return false, err
	}
	return r[0] == 1, nil
}

// BlobDelete deletes the blob. It leaves a tombstone for the rest of the blob's life, at
// least 1 h and at most 24 h, also if there was no blob. If a reply was lost, it may
// report false for a blob that it deleted itself.
func (s *Store) BlobDelete(ctx context.Context, key BlobKey) (found bool, err error) {
	c := s.beginBlob(ctx, blobDelete, key)
	c.words = append(c.words, milliseconds(blobTombstoneLeast), milliseconds(blobTombstoneMost))
	r, err := s.do(c, 1)
	if err != nil {
		return false, err
	}
	return r[0] == 1, nil
}

// BlobScan calls visit for each blob, in no order. A blob that is written meanwhile may
// be left out or come twice. BlobScan looks at every key of every master, whatever the
// key's prefix, and reads the blobs one by one. Each step has the budget; the whole scan
// ends with ctx. Calls of visit do not overlap. An error of visit ends the scan.
func (s *Store) BlobScan(ctx context.Context, visit func(tag Tag, data string) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var mu sync.Mutex // held while visit runs
	each := func(ctx context.Context, node *redis.Client) error {
		err := s.scanNode(ctx, node, func(tag Tag, data string) error {
			mu.Lock()
			defer mu.Unlock()
			if err := context.Cause(ctx); err != nil {
				return err
			}
			return visit(tag, data)
		})
		if err != nil {
			stop(err) // ends the scans of the other nodes
		}
		return err
	}
	switch client := s.client.(type) {
	case *redis.ClusterClient:
		return client.ForEachMaster(ctx, each)
	case *redis.Ring:
		return client.ForEachShard(ctx, each)
	case *redis.Client:
		return each(ctx, client)
	}
	return s.scanNode(ctx, s.client, visit)
}

// scanNode is BlobScan for one server.
func (s *Store) scanNode(ctx context.Context, node redis.UniversalClient, visit func(tag Tag, data string) error) error {
	for cursor := uint64(0); ; {
		tags, next, err := s.blobPage(ctx, node, cursor)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			data, found, err := s.BlobFind(ctx, BlobKey{Tag: tag})
			if err == nil && found {
				err = visit(tag, data)
			}
			if err == nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// blobPage returns the tags of blobs and tombstones among the next keys of a server.
func (s *Store) blobPage(ctx context.Context, node redis.UniversalClient, cursor uint64) (tags []Tag, next uint64, err error) {
	c := s.begin(ctx, blobScan, 0)
	begins := s.prefix + ":b:{" // a prefix has no character that is special to SCAN
	var cmd *redis.ScanCmd
	err = s.repeat(c, func() error {
		cmd = redis.NewScanCmd(c, nil, "scan", cursor, "match", begins+"*", "count", blobPage)
		return s.processBy(node, c, scanCommand{cmd})
	})
	if err != nil {
		return nil, 0, err
	}
	keys, next := cmd.Val()
	for _, key := range keys {
		tag, ok := strings.CutSuffix(strings.TrimPrefix(key, begins), "}:")
		if ok && len(tag) == len(Tag{}) {
			tags = append(tags, Tag([]byte(tag)))
		}
	}
	return tags, next, nil
}

type scanCommand struct{ *redis.ScanCmd }

func (scanCommand) NoRetry() bool { return true }

// beginBlob starts a call of a script on one blob.
func (s *Store) beginBlob(ctx context.Context, script *script, key BlobKey) *run {
	c := s.begin(ctx, script, 1)
	var room [128]byte
	name := s.appendKey(room[:0], 'b', key.Tag, "")
	c.keys(string(name), len(name))
	c.words = append(c.words, instant(key.Now*1000))
	return c
}
