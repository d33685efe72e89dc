package adaptertest_test

import (
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }
