package redistest

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

var prefixCount atomic.Int64

// Prefix gives a short key prefix of lower-case letters, digits and "-" that nothing else
// uses: another one on each call, in whatever process. Nothing is deleted at the end of
// the test; keys are expected to expire.
func Prefix(tb testing.TB) string {
	tb.Helper()
	prefix := fmt.Sprintf("t%d-%s", prefixCount.Add(1), strings.ToLower(rand.Text()[:8]))
	if testing.Verbose() {
		tb.Logf("redistest: keys start with %s", prefix)
	}
	return prefix
}

// Keys lists the keys that start with prefix, sorted; of a cluster, those of all masters.
func Keys(tb testing.TB, client redis.UniversalClient, prefix string) []string {
	tb.Helper()
	pattern := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(prefix) + "*"
	found := map[string]bool{} // SCAN may give a key twice
	var mu sync.Mutex
	eachMaster(tb, client, func(ctx context.Context, master redis.UniversalClient) error {
		keys := master.Scan(ctx, 0, pattern, 1000).Iterator()
		for keys.Next(ctx) {
			mu.Lock()
			found[keys.Val()] = true
			mu.Unlock()
		}
		return keys.Err()
	})
	return slices.Sorted(maps.Keys(found))
}

// NoImmortalKeys fails the test for each key under prefix that would never expire.
func NoImmortalKeys(tb testing.TB, client redis.UniversalClient, prefix string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	for _, key := range Keys(tb, client, prefix) {
		ttl, err := client.PTTL(ctx, key).Result()
		switch {
		case err != nil:
			tb.Fatalf("redistest: PTTL %q: %v", key, err)
		case ttl == -1:
			tb.Errorf("key %q never expires", key)
		}
	}
}
