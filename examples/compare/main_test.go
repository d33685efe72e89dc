package compare

import (
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gin-gonic/gin"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Experiments mostly wait (for a window, for a server that stands still), so many of
	// them run at once.
	if err := flag.Set("test.parallel", "16"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	gin.SetMode(gin.ReleaseMode)
	// Servers are broken here on purpose, and some kits log each failed command.
	log.SetOutput(io.Discard)
	slog.SetDefault(slog.New(slog.DiscardHandler))
	redistest.Main(m)
}

// TestTables prints both tables. It fails where gatekit misses a promise.
func TestTables(t *testing.T) {
	redistest.Long(t)
	start := time.Now()
	var limits, sessions *table
	t.Run("measure", func(t *testing.T) {
		limits = measure(t, "rate limiters", limiterChecks, limiters)
		sessions = measure(t, "sessions", sessionChecks, sessionKits)
	})
	fmt.Printf("\n%s\n%s\nmeasured in %.0f s\n\n", limits.markdown(), sessions.markdown(), time.Since(start).Seconds())
}
