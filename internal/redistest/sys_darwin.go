package redistest

import (
	"os/exec"
	"time"
)

// dieWithParent does nothing: macOS cannot tie a child's life to its parent's. Servers
// outlive a killed test process there.
func dieWithParent(*exec.Cmd) {}

// awaitStopped gives SIGSTOP the time to arrive.
func awaitStopped(int) error {
	time.Sleep(20 * time.Millisecond)
	return nil
}
