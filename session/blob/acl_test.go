package blob_test

import (
	"os"
	"regexp"
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

// With the ACL rule of SECURITY.md blobs work. Only All needs the additional permission
// that is named there.
func TestBlobsUnderTheACLRule(t *testing.T) {
	security, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	rule := regexp.MustCompile(`(?m)^ +user gatekit (on .*)$`).FindSubmatch(security)
	if rule == nil || !regexp.MustCompile("`blob\\.Store\\.All`[^.]*`\\+scan`").Match(security) {
		t.Fatal("SECURITY.md has no ACL rule, or none for blob.Store.All")
	}
	srv := redistest.NewSingle(t)
	admin := srv.Client(t)
	allow := func(words ...string) {
		t.Helper()
		args := []any{"ACL", "SETUSER", "gatekit"}
		for _, word := range words {
			args = append(args, word)
		}
		if err := admin.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	allow(strings.Fields(string(rule[1]))...)
	// The client sends this command to each server; servers know it from 7.2 on.
	_ = admin.Do(t.Context(), "ACL", "SETUSER", "gatekit", "+client|setinfo").Err()
	client := srv.Client(t, func(o *redis.UniversalOptions) { o.Username, o.Password, o.DB = "gatekit", "PASSWORD", 3 })
	blobs, err := blob.New(kvtest.Open(t, client, gatekit.Options{Budget: 2 * time.Second}), blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, hour := t.Context(), time.Now().Add(time.Hour)
	wantError(t, "commit", blobs.Commit(ctx, "token", []byte("1"), hour), nil)
	wantError(t, "update", blobs.Update(ctx, "token", []byte("2"), hour), nil)
	wantBlob(t, blobs, "token", "2")
	wantError(t, "replace", blobs.Replace(ctx, "token", "next", []byte("3"), hour), nil)
	_, err = blobs.All(ctx)
	wantError(t, "all", err, session.ErrUnavailable)
	allow("+scan")
	all, err := blobs.All(ctx)
	if err != nil || len(all) != 1 {
		t.Errorf("%d blobs, error %v, want 1", len(all), err)
	}
	wantError(t, "delete", blobs.Delete(ctx, "next"), nil)
}
