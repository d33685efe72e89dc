package blob_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/gatekit/gatekit/session/blob"
	"github.com/redis/go-redis/v9"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// blobOptions has a name of its own beside gatekit.Options.
type blobOptions = blob.Options

type blobSettings struct {
	blobOptions
	gatekit.Options
}

func newBlobs(t *testing.T, client gatekit.Client, change ...func(*blobSettings)) (*blob.Store, string) {
	t.Helper()
	cfg := blobSettings{Options: gatekit.Options{Prefix: redistest.Prefix(t), Budget: 2 * time.Second}}
	for _, f := range change {
		f(&cfg)
	}
	blobs, err := blob.New(kvtest.Open(t, client, cfg.Options), cfg.blobOptions)
	if err != nil {
		t.Fatal(err)
	}
	return blobs, cfg.Prefix
}

// find returns the blob of a token, or "(none)".
func find(t *testing.T, blobs *blob.Store, token string) string {
	t.Helper()
	data, found, err := blobs.Find(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		return "(none)"
	}
	return string(data)
}

func wantBlob(t *testing.T, blobs *blob.Store, token, want string) {
	t.Helper()
	if got := find(t, blobs, token); got != want {
		t.Errorf("blob is %q, want %q", got, want)
	}
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

func TestBlobsLife(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		blobs, prefix := newBlobs(t, srv.Client(t))
		ctx, hour := t.Context(), time.Now().Add(time.Hour)
		wantBlob(t, blobs, "token", "(none)")
		wantBlob(t, blobs, "", "(none)")
		wantError(t, "update of none", blobs.Update(ctx, "token", []byte("0"), hour), session.ErrGone)
		wantError(t, "commit", blobs.Commit(ctx, "token", []byte("1"), hour), nil)
		wantBlob(t, blobs, "token", "1")
		wantError(t, "update", blobs.Update(ctx, "token", []byte("2"), hour), nil)
		wantBlob(t, blobs, "token", "2")
		if blobs.Commit(ctx, "", []byte("1"), hour) == nil {
			t.Error("the empty token was taken")
		}
		wantError(t, "delete", blobs.Delete(ctx, "token"), nil)
		wantBlob(t, blobs, "token", "(none)")
		wantError(t, "late commit", blobs.Commit(ctx, "token", []byte("3"), hour), session.ErrGone)
		wantError(t, "late update", blobs.Update(ctx, "token", []byte("3"), hour), session.ErrGone)
		wantError(t, "delete again", blobs.Delete(ctx, "token"), nil)
		wantError(t, "delete of nobody", blobs.Delete(ctx, ""), nil)
		wantBlob(t, blobs, "token", "(none)")

		// An expiry in the past ends the blob for good.
		wantError(t, "commit", blobs.Commit(ctx, "other", []byte("1"), hour), nil)
		wantError(t, "commit of what is over", blobs.Commit(ctx, "other", []byte("1"), time.Now().Add(-time.Second)), nil)
		wantBlob(t, blobs, "other", "(none)")
		wantError(t, "late commit", blobs.Commit(ctx, "other", []byte("2"), hour), session.ErrGone)
		redistest.NoImmortalKeys(t, srv.Client(t), prefix)
	})
}

func TestReplaceBlob(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		blobs, _ := newBlobs(t, srv.Client(t))
		ctx, hour := t.Context(), time.Now().Add(time.Hour)
		wantError(t, "commit", blobs.Commit(ctx, "old", []byte("1"), hour), nil)
		wantError(t, "replace", blobs.Replace(ctx, "old", "new", []byte("2"), hour), nil)
		wantBlob(t, blobs, "old", "(none)")
		wantBlob(t, blobs, "new", "2")
		wantError(t, "late commit", blobs.Commit(ctx, "old", []byte("3"), hour), session.ErrGone)

		// A blob that has ended is not brought back under another token.
		wantError(t, "delete", blobs.Delete(ctx, "new"), nil)
		wantError(t, "replace what was deleted", blobs.Replace(ctx, "new", "newer", []byte("2"), hour), session.ErrGone)
		wantBlob(t, blobs, "newer", "(none)")
		for _, old := range []string{"", "newest"} {
			if blobs.Replace(ctx, old, "newest", []byte("2"), hour) == nil {
				t.Errorf("%q was replaced", old)
			}
		}
		wantBlob(t, blobs, "newest", "(none)")
	})
}

func TestBlobsExpire(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		blobs, _ := newBlobs(t, srv.Client(t))
		end := time.Now().Add(300 * time.Millisecond)
		wantError(t, "commit", blobs.Commit(t.Context(), "token", []byte("1"), end), nil)
		if find(t, blobs, "token") == "(none)" && time.Now().Before(end) {
			t.Error("ended early")
		}
		// The blob's remaining life at the call counts from when the server got it.
		for late := end.Add(10 * time.Second); find(t, blobs, "token") != "(none)" && time.Now().Before(late); {
			time.Sleep(10 * time.Millisecond)
		}
		wantBlob(t, blobs, "token", "(none)")
		wantError(t, "late update", blobs.Update(t.Context(), "token", []byte("2"), end.Add(time.Hour)), session.ErrGone)
	})
}

func TestBlobsByHandle(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		blobs, _ := newBlobs(t, srv.Client(t))
		ctx, hour := t.Context(), time.Now().Add(time.Hour)
		all, err := blobs.All(ctx)
		if err != nil || all == nil || len(all) != 0 {
			t.Fatalf("of none: %v, %v", all, err)
		}
		for i := range 5 {
			wantError(t, "commit", blobs.Commit(ctx, fmt.Sprint("token", i), []byte(fmt.Sprint(i)), hour), nil)
		}
		wantError(t, "delete", blobs.Delete(ctx, "token4"), nil)
		if all, err = blobs.All(ctx); err != nil || len(all) != 4 {
			t.Fatalf("%d blobs, error %v, want 4", len(all), err)
		}
		for handle, data := range all {
			wantBlob(t, blobs, handle, "(none)") // a handle is no token
			switch string(data) {
			case "0":
				wantError(t, "commit by handle", blobs.Commit(ctx, handle, []byte("changed"), hour), nil)
			case "1":
				wantError(t, "delete by handle", blobs.Delete(ctx, handle), nil)
				wantError(t, "late commit by handle", blobs.Commit(ctx, handle, data, hour), session.ErrGone)
			}
		}
		var got []string
		for i := range 5 {
			got = append(got, find(t, blobs, fmt.Sprint("token", i)))
		}
		if want := []string{"changed", "(none)", "2", "3", "(none)"}; !slices.Equal(got, want) {
			t.Errorf("blobs %q, want %q", got, want)
		}
		// A made-up handle makes no blob.
		made := "handle:" + strings.Repeat("A", 22)
		wantError(t, "commit by a made-up handle", blobs.Commit(ctx, made, []byte("x"), hour), session.ErrGone)
		// A text that is no handle is a token, and is hashed.
		wantError(t, "commit", blobs.Commit(ctx, "handle:}"+strings.Repeat("A", 21), []byte("x"), hour), nil)
	})
}

func TestBlobTokensStayOutOfRedis(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		client := srv.Client(t)
		blobs, prefix := newBlobs(t, client)
		const kept, deleted = "a-token-that-is-kept", "a-token-that-is-deleted"
		for _, token := range []string{kept, deleted} {
			wantError(t, "commit", blobs.Commit(t.Context(), token, []byte("data"), time.Now().Add(time.Hour)), nil)
		}
		wantError(t, "delete", blobs.Delete(t.Context(), deleted), nil)
		var all string
		for _, key := range redistest.Keys(t, client, prefix) {
			all += key + " " + client.Get(t.Context(), key).Val() + "\n"
		}
		if strings.Contains(all, "a-token") || !strings.Contains(all, "data") {
			t.Errorf("Redis holds %q", all)
		}
	})
}

func TestBlobsWhenRedisIsAway(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	srv := redistest.NewSingle(t)
	blobs, _ := newBlobs(t, srv.Client(t), func(c *blobSettings) { c.Budget = time.Second })
	ctx, hour := t.Context(), time.Now().Add(time.Hour)
	wantError(t, "commit", blobs.Commit(ctx, "token", []byte("1"), hour), nil)
	srv.Freeze(t)
	began := time.Now()
	_, found, err := blobs.Find(ctx, "token")
	wantError(t, "find", err, session.ErrUnavailable)
	if found {
		t.Error("found in a frozen Redis")
	}
	wantError(t, "commit", blobs.Commit(ctx, "token", []byte("2"), hour), session.ErrUnavailable)
	wantError(t, "delete", blobs.Delete(ctx, "token"), session.ErrUnavailable)
	_, err = blobs.All(ctx)
	wantError(t, "all", err, session.ErrUnavailable)
	t.Logf("four calls took %v", time.Since(began))
	for _, err := range []error{err, blobs.Delete(ctx, "token")} {
		if strings.Contains(err.Error(), "token") {
			t.Errorf("the error names the token: %v", err)
		}
	}
	srv.Thaw(t)
}

// A commit is made even if the client has gone, since the response may be out.
func TestBlobCommitOutlivesTheRequest(t *testing.T) {
	blobs, _ := newBlobs(t, redistest.Single(t).Client(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, "commit", blobs.Commit(ctx, "token", []byte("1"), time.Now().Add(time.Hour)), nil)
	wantBlob(t, blobs, "token", "1")
}

func TestOptions(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	for field, cfg := range map[string]blob.Options{
		"MaxBytes": {MaxBytes: 1<<20 + 1},
	} {
		if _, err := blob.New(kvtest.Open(t, client, gatekit.Options{}), cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: error %v", field, err)
		}
	}
	blobs, err := blob.New(kvtest.Open(t, client, gatekit.Options{}), blob.Options{MaxBytes: 3})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, "four bytes", blobs.Commit(t.Context(), "token", []byte("1234"), time.Now().Add(time.Hour)), session.ErrTooLarge)
}
