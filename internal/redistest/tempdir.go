package redistest

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	dirPrefix    = "gatekit-redistest-"
	dirNewPrefix = "gatekit-new-"
)

// processDir is where all servers of this process keep their files. Its lock file is held
// until the process ends, which tells later runs whether the directory still belongs to
// somebody.
var processDir = sync.OnceValues(func() (string, error) {
	sweep()
	dir, err := os.MkdirTemp("", dirNewPrefix)
	if err != nil {
		return "", err
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	lockByte(lock, 0)
	dirLock = lock
	// Only now does it get the name that sweep looks for: between creation and lock it
	// looks abandoned.
	final := filepath.Join(filepath.Dir(dir), dirPrefix+strings.TrimPrefix(filepath.Base(dir), dirNewPrefix))
	return final, os.Rename(dir, final)
})

// dirLock keeps the file open: a collected os.File is closed, and the lock lost.
var dirLock *os.File

// newDir makes a directory for one server.
func newDir() (string, error) {
	parent, err := processDir()
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(parent, "redis-")
}

// sweep removes the directories of test processes that died before they could.
func sweep() {
	locks, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*", "lock"))
	for _, name := range locks {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if lockByte(f, 0) {
			os.RemoveAll(filepath.Dir(name))
		}
		f.Close()
	}
}
