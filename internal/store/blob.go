package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A blob is bytes under a hashed name, written as a whole: a session of another kit.

const (
	// A tombstone has to outlast the requests that were under way when the blob was
	// deleted, streams included. The blob's own end is a good measure, where it is not
	// too short or too far away.
	blobTombstoneLeast = time.Hour
	blobTombstoneMost  = 24 * time.Hour

	// blobPage is how many keys one step of [Store.BlobScan] looks at.
	blobPage = 200
)

// BlobKey names a blob to the blob scripts.
type BlobKey struct {
	Tag Tag // see [MakeTag]

	// Now replaces the server's clock, unix ms. Only tests set it; 0 asks the server.
	Now int64
}

// BlobFind returns the data of the blob, and whether it is there: written, not deleted
// and not over.
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

// BlobCommit writes the blob over what is there, and reports whether it did: not over a
// tombstone. An error that is [ErrUnknownOutcome] may have written.
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

// BlobDelete ends the blob, and leaves a tombstone for what is left of the blob's life,
// at least 1 h and at most 24 h, also where no blob was. It may report false for a blob
// that it ended itself when a reply was lost.
func (s *Store) BlobDelete(ctx context.Context, key BlobKey) (found bool, err error) {
	c := s.beginBlob(ctx, blobDelete, key)
	c.words = append(c.words, milliseconds(blobTombstoneLeast), milliseconds(blobTombstoneMost))
	r, err := s.do(c, 1)
	if err != nil {
		return false, err
	}
	return r[0] == 1, nil
}

// BlobScan tells visit the blobs that are there, in no order; one that is written
// meanwhile may be left out or come twice. It looks at every key of every master,
// whatever its prefix, and reads the blobs one by one. Each step of it is within the
// budget; the whole ends with ctx. visit is called one at a time, and its error ends the
// scan.
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
			stop(err) // the other nodes have no reason to go on
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
	begins := s.prefix + ":b:{" // no character of a prefix means anything to SCAN
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

// beginBlob starts a call of a script over one blob.
func (s *Store) beginBlob(ctx context.Context, script *script, key BlobKey) *run {
	c := s.begin(ctx, script, 1)
	var room [128]byte
	name := s.appendKey(room[:0], 'b', key.Tag, "")
	c.keys(string(name), len(name))
	c.words = append(c.words, instant(key.Now*1000))
	return c
}
