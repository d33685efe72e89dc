package adaptertest

import (
	"fmt"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

func nils(t *testing.T, k kit, _ *redistest.Server) {
	const manager = "gatekit: the *session.Manager is nil: make it first, and look at the error"
	rule := ratelimit.Rule{Policy: ratelimit.MustPolicy("hour", ratelimit.PerHour(1)), Key: ratelimit.Everyone()}
	for _, c := range []struct {
		name, want string
		construct  func()
	}{
		{"Sessions", manager, func() { k.sessions(nil) }},
		{"RequireLogin", manager, func() { k.requireLogin(nil, "/login") }},
		{"RequireFresh", manager, func() { k.requireFresh(nil, 1, "/login") }},
		{"RequireLevel", manager, func() { k.requireLevel(nil, 2, "/login") }},
		{"Devices", manager, func() { k.devices(nil) }},
		{"Logout", manager, func() { k.logout(nil, "/") }},
		{"LogoutEverywhere", manager, func() { k.everywhere(nil, "/") }},
		{"RateLimit", "gatekit: the *ratelimit.Limiter is nil: make it first, and look at the error", func() { k.rateLimit(nil, ratelimit.GateOptions{}, rule) }},
	} {
		if got := panicOf(c.construct); got != c.want {
			t.Errorf("%s(nil) panics with %q, want %q", c.name, got, c.want)
		}
	}
}

func panicOf(f func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	f()
	return ""
}
