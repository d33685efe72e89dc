package ratelimit_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/gatekit/gatekit/internal/limittest"
	"github.com/gatekit/gatekit/internal/redistest"
)

// TestRandomTraces compares the scripts with the ideal log and the model on random
// traces: costs, refunds, repeated calls, quotas that change, resets, idle times with
// expiry, clock steps of 1 µs to 1 h. See [limittest.World] for what is checked at
// each step. More traces:
//
//	go test ./ratelimit -run TestRandomTraces/single -rapid.checks=10000 -timeout 1h
func TestRandomTraces(t *testing.T) {
	redistest.Long(t)
	kinds := []limittest.Kind{
		{Name: "window cost 1", Algorithms: "w", Cost1: true}, // only this kind takes the fast path of the script
		{Name: "window", Algorithms: "w"},
		{Name: "buckets", Algorithms: "b"},
		{Name: "log", Algorithms: "l"},
		{Name: "two limits", Algorithms: "wb wbl"},
		{Name: "three limits", Algorithms: "w b l"},
		{Name: "calendar", Algorithms: "k"},
		{Name: "calendar beside others", Algorithms: "wbl wblk k"},
	}
	// One in so many traces is run: the embedded server takes ten times as long as a real
	// one.
	oneIn := map[string]int{"embedded": 8, "single": 1, "cluster": 4}
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		t.Parallel()
		client, prefix := srv.Client(t), redistest.Prefix(t)
		for _, kind := range kinds {
			for _, steady := range []bool{true, false} {
				kind.Steady = steady
				t.Run(kind.String(), func(t *testing.T) {
					var sum limittest.Tally
					rapid.Check(t, func(t *rapid.T) {
						if rapid.IntRange(1, oneIn[srv.Name()]).Draw(t, "run if 1") == 1 {
							sum = sum.Add(kind.Run(t, client, prefix))
						}
					})
					t.Logf("%+v", sum)
				})
			}
		}
	})
}
