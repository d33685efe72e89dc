package adaptertest

import (
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
)

// Main runs the tests of an adapter: call it from TestMain. It ends the servers that the
// conformance table started, and fails the run if goroutines are left over.
func Main(m *testing.M) { redistest.Main(m) }
