// Package kvtest opens a Redis for the kit's own tests.
package kvtest

import (
	"testing"

	"github.com/gatekit/gatekit"
)

// Open is [gatekit.Open]; it fails the test if the options are wrong.
func Open(tb testing.TB, client gatekit.Client, opts gatekit.Options) *gatekit.Redis {
	tb.Helper()
	kv, err := gatekit.Open(client, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return kv
}
