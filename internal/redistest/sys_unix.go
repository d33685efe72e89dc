//go:build linux || darwin

package redistest

import (
	"io"
	"os"
	"syscall"
	"time"
)

var (
	signalStop     os.Signal = syscall.SIGSTOP
	signalContinue os.Signal = syscall.SIGCONT
)

// lockByte takes the lock on one byte of a file for this process and reports whether it
// got it. The lock goes when any descriptor of the file is closed, or when the process
// ends, however it does. It does not keep out this process.
func lockByte(f *os.File, offset int64) bool {
	return setLock(f, offset, syscall.F_WRLCK)
}

func unlockByte(f *os.File, offset int64) {
	setLock(f, offset, syscall.F_UNLCK)
}

func setLock(f *os.File, offset int64, kind int16) bool {
	lock := syscall.Flock_t{Type: kind, Whence: io.SeekStart, Start: offset, Len: 1}
	return syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lock) == nil
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
