package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/redis/go-redis/v9"
)

// blobRig is a store and a clock of its own.
type blobRig struct {
	t      *testing.T
	client redis.UniversalClient
	store  *store.Store
	prefix string
	now    int64 // unix ms
}

func newBlobRig(t *testing.T, client redis.UniversalClient) *blobRig {
	t.Helper()
	prefix := redistest.Prefix(t)
	kv, err := store.New(client, store.Options{Prefix: prefix, Budget: patient})
	if err != nil {
		t.Fatal(err)
	}
	return &blobRig{t: t, client: client, store: kv, prefix: prefix, now: time.Now().UnixMilli()}
}

func (r *blobRig) key(name string) store.BlobKey {
	return store.BlobKey{Tag: store.MakeTag("blob", name), Now: r.now}
}

// find returns the data, or "(none)".
func (r *blobRig) find(name string) string {
	r.t.Helper()
	data, found, err := r.store.BlobFind(r.t.Context(), r.key(name))
	if err != nil {
		r.t.Fatal(err)
	}
	if !found {
		return "(none)"
	}
	return data
}

func (r *blobRig) commit(name, data string, life time.Duration, present bool) bool {
	r.t.Helper()
	written, err := r.store.BlobCommit(r.t.Context(), store.BlobCommit{Key: r.key(name), Data: []byte(data), Life: life, Present: present})
	if err != nil {
		r.t.Fatal(err)
	}
	return written
}

func (r *blobRig) delete(name string) (found bool) {
	r.t.Helper()
	found, err := r.store.BlobDelete(r.t.Context(), r.key(name))
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

func TestBlobs(t *testing.T) {
	redistest.Long(t)
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		r := newBlobRig(t, server.Client(t))
		want(t, "before the first commit", r.find("a"), "(none)")
		const data = "-1.\x00\xff\r\n{}"
		want(t, "first commit", r.commit("a", data, time.Minute, false), true)
		want(t, "found", r.find("a"), data)
		want(t, "another", r.find("b"), "(none)")
		want(t, "second commit", r.commit("a", "", time.Hour, true), true)
		want(t, "found", r.find("a"), "")

		// The script's clock decides: the embedded server keeps keys for longer than
		// their TTL.
		r.now += time.Hour.Milliseconds() - 1
		want(t, "a ms before its end", r.find("a"), "")
		r.now++
		want(t, "at its end", r.find("a"), "(none)")
		want(t, "commit of what must be there", r.commit("a", "x", time.Hour, true), false)
		redistest.NoImmortalKeys(t, r.client, r.prefix)
	})
}

func TestDeletedBlobStaysDeleted(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		for _, c := range []struct {
			life, tombstone time.Duration // 0: no blob was there
		}{{0, time.Hour}, {time.Minute, time.Hour}, {7 * time.Hour, 7 * time.Hour}, {1000 * time.Hour, 24 * time.Hour}} {
			r := newBlobRig(t, server.Client(t))
			if c.life > 0 {
				r.commit("a", "x", c.life, false)
			}
			want(t, "blob found", r.delete("a"), c.life > 0)
			want(t, "deleted", r.find("a"), "(none)")
			want(t, "late commit", r.commit("a", "late", time.Hour, false), false)
			r.now += 1000
			want(t, "blob found again", r.delete("a"), false) // repeated, it makes the tombstone no shorter than an hour and no longer than it was
			r.now += max(c.tombstone-time.Second, time.Hour).Milliseconds() - 1
			want(t, fmt.Sprint("late commit at the end of the tombstone of ", c.life), r.commit("a", "late", time.Hour, false), false)
			r.now++
			want(t, fmt.Sprint("commit after the tombstone of ", c.life), r.commit("a", "new", time.Hour, false), true)
			redistest.NoImmortalKeys(t, r.client, r.prefix)
		}
	})
}

func TestBlobScan(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		r := newBlobRig(t, server.Client(t))
		r.now = 0
		wanted := map[store.Tag]string{}
		for i := range 50 {
			name := fmt.Sprint(i)
			r.commit(name, name, time.Hour, false)
			wanted[r.key(name).Tag] = name
		}
		r.delete("7")
		delete(wanted, r.key("7").Tag)
		other := newBlobRig(t, r.client)
		other.commit("0", "of another prefix", time.Hour, false)

		got := map[store.Tag]string{}
		err := r.store.BlobScan(t.Context(), func(tag store.Tag, data string) error {
			got[tag] = data
			return nil
		})
		if err != nil || !maps.Equal(got, wanted) {
			t.Errorf("%d blobs, error %v, want %d: %v", len(got), err, len(wanted), slices.Sorted(maps.Values(got)))
		}
		stop, seen := errors.New("stop"), 0
		err = r.store.BlobScan(t.Context(), func(store.Tag, string) error { seen++; return stop })
		if seen != 1 || !errors.Is(err, stop) {
			t.Errorf("after an error %d blobs and %v", seen, err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.store.BlobScan(gone, func(store.Tag, string) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("scan of who has gone: %v", err)
		}
	})
}

// The shards of a Ring are independent servers, so a scan must ask each.
func TestBlobScanOfARing(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{ContextTimeoutEnabled: true,
		Addrs: map[string]string{"one": redistest.Embedded(t).Addrs()[0], "two": redistest.Embedded(t).Addrs()[0]}})
	defer ring.Close()
	r := newBlobRig(t, ring)
	r.now = 0
	for i := range 40 {
		r.commit(fmt.Sprint(i), "x", time.Hour, false)
	}
	seen := 0
	if err := r.store.BlobScan(t.Context(), func(store.Tag, string) error { seen++; return nil }); err != nil || seen != 40 {
		t.Errorf("%d blobs, error %v, want 40", seen, err)
	}
}

// After a lost reply the store repeats scripts that may be repeated, and does not repeat
// a commit.
func TestBlobsWhenReplyIsLost(t *testing.T) {
	s := redistest.Single(t)
	proxy := redistest.NewProxy(t, s.Addrs()[0])
	r := newBlobRig(t, redistest.NewClient(t, proxy.Addr()))
	r.commit("a", "1", time.Hour, false)
	r.find("a")
	r.delete("b")

	proxy.DropReply(1)
	want(t, "found", r.find("a"), "1")
	proxy.DropReply(1)
	sent := proxy.During(func() {
		_, err := r.store.BlobCommit(t.Context(), store.BlobCommit{Key: r.key("a"), Data: []byte("2"), Life: time.Hour})
		if !errors.Is(err, store.ErrUnknownOutcome) {
			t.Errorf("commit: %v", err)
		}
	})
	want(t, "commits sent", sent.Commands.Of("evalsha", "eval"), 1)
	want(t, "found", r.find("a"), "2")
	proxy.DropReply(1)
	r.delete("a")
	want(t, "deleted", r.find("a"), "(none)")
}

func TestBlobCosts(t *testing.T) {
	r := newBlobRig(t, redistest.NewSingle(t).Client(t))
	commands := func(what string, f func(), want int64) {
		t.Helper()
		f() // the script is known to the server from now on
		// EVALSHA itself is counted, TIME is not called because the tests pass it: so
		// this is what a script costs in production.
		if counts := redistest.Commands(t, r.client, f); counts.Total() != want {
			t.Errorf("%s: %d commands, want %d: %v", what, counts.Total(), want, counts)
		}
	}
	commands("commit", func() { r.commit("a", "x", time.Hour, false) }, 3)
	commands("find", func() { r.find("a") }, 2)
	commands("delete", func() { r.delete("a") }, 4)
	commands("late commit", func() { r.commit("a", "x", time.Hour, false) }, 2)
}
