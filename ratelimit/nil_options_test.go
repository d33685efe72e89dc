package ratelimit_test

import (
	"context"
	"strings"
	"testing"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

type decider func(ratelimit.Decision)

func (d decider) Decided(_ context.Context, decision ratelimit.Decision) { d(decision) }
func (decider) Degraded(error)                                           {}
func (decider) Recovered()                                               {}

// An interface that holds a nil pointer is not nil, so such an observer would panic at
// the first decision. New returns an error for it.
func TestNilObservers(t *testing.T) {
	kv := kvtest.Open(t, redistest.Embedded(t).Client(t), gatekit.Options{Prefix: redistest.Prefix(t)})
	for name, observer := range map[string]ratelimit.Observer{"*ratelimit_test.outages": (*outages)(nil), "ratelimit_test.decider": decider(nil)} {
		_, err := ratelimit.New(kv, ratelimit.Options{Observer: observer})
		if err == nil || !strings.Contains(err.Error(), "ratelimit: Observer: the "+name+" is nil: make it first") {
			t.Errorf("%s: got %v, want an error that names the field", name, err)
		}
	}
}
