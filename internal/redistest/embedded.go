package redistest

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
)

// Embedded starts a Redis inside this process, a new and empty one for each call, and
// ends it with the test. It needs nothing installed. Its keys expire by the clock, as
// those of a real server do. Time passes by itself until the test calls
// [miniredis.Miniredis.SetTime]; from then on only the test moves it.
//
// It is another program and less strict than Redis (slots, number formats, error texts).
// So a test that passes here must pass on the real servers too.
func Embedded(tb testing.TB) *Server {
	tb.Helper()
	mini := miniredis.RunT(tb)
	mini.ClockTTL(true)
	return &Server{name: "embedded", addrs: []string{mini.Addr()}, mini: mini}
}
