//go:build !linux && !darwin

package redistest

import (
	"errors"
	"os"
	"os/exec"
	"time"
)

// Elsewhere the package compiles, so that tests with the embedded server run; real
// servers are started without the guarantees that need the kernel's help.

var signalStop, signalContinue os.Signal = os.Interrupt, os.Interrupt

func dieWithParent(*exec.Cmd) {}

func awaitStopped(int) error { return errors.New("freezing a process needs Linux or macOS") }

func lockByte(*os.File, int64) bool { return true }

func unlockByte(*os.File, int64) {}

func ownCPU() time.Duration { return 0 }
