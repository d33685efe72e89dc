package redistest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// dieWithParent makes the kernel kill the child when the thread that starts it ends,
// which it does at the latest with this process, however that ends. The caller keeps the
// thread.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// awaitStopped returns once the kernel has stopped the process: SIGSTOP is delivered a
// little after kill returns, and a server may answer one more command in between.
func awaitStopped(pid int) error {
	var state []byte
	for range 500 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return err
		}
		// "pid (name) state ...", and the name may hold anything, also a closing
		// parenthesis.
		state = stat[bytes.LastIndexByte(stat, ')')+1:]
		if bytes.HasPrefix(state, []byte(" T")) {
			return nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return fmt.Errorf("process %d is not stopped but in state%.2s", pid, state)
}
