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
		{Name: "two windows cost 1", Algorithms: "w w", Cost1: true}, // only this kind takes the flat path of limit_take_all
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

// TestRandomTracesTogether is TestRandomTraces for several keys that are decided
// together: dry runs, costs of each limit, costs of 0. On the cluster each key has a
// script of its own, and what was spent is refunded if another denies. More traces:
//
//	go test ./ratelimit -run TestRandomTracesTogether/single -rapid.checks=10000 -timeout 1h
func TestRandomTracesTogether(t *testing.T) {
	redistest.Long(t)
	kinds := []limittest.TogetherKind{
		{Kind: limittest.Kind{Name: "windows of cost 1", Algorithms: "w", Cost1: true}, Flat: true}, // only this kind takes the flat path of the script
		{Kind: limittest.Kind{Name: "windows and buckets", Algorithms: "wb"}},
		{Kind: limittest.Kind{Name: "all", Algorithms: "wbl"}},
		{Kind: limittest.Kind{Name: "calendars beside all", Algorithms: "kwbl"}},
	}
	oneIn := map[string]int{"embedded": 10, "single": 1, "cluster": 4}
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		t.Parallel()
		client, prefix := srv.Client(t), redistest.Prefix(t)
		for _, kind := range kinds {
			for _, steady := range []bool{true, false} {
				kind.Steady, kind.Spread = steady, srv.Name() == "cluster"
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
