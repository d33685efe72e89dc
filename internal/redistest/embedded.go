package redistest

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
)

// Embedded starts a Redis inside this process, a new and empty one for each call, and
// ends it with the test. It needs nothing installed. Its keys expire by the clock, as
// those of a real server do: time passes by itself, or, once
// [miniredis.Miniredis.SetTime] was called, only as the test says.
//
// It is a different program that misses some of Redis's strictness (slots, number
// formats, error texts), so what passes here is proven only with the real servers beside
// it.
func Embedded(tb testing.TB) *Server {
	tb.Helper()
	mini := miniredis.RunT(tb)
	mini.ClockTTL(true)
	return &Server{name: "embedded", addrs: []string{mini.Addr()}, mini: mini}
}
