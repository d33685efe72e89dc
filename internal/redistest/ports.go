package redistest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// Servers and proxies listen in [firstPort, firstPort+portCount); cluster nodes also on
// their port + busOffset. Both ranges end below 32768, where Linux begins to hand out
// ports for outgoing connections. Binding port 0 would give ports of that kind, and while
// a server is killed, to be restarted on its own port, any client of any process could
// take it.
const (
	firstPort = 11_000
	portCount = 10_000
	busOffset = 10_000
)

// ports knows which ports this process has given out, and keeps other test processes off
// them by a lock on one byte per port in a file they all open. The file stays in the
// temporary directory, empty.
var ports = struct {
	sync.Mutex // guards the fields below
	file       *os.File
	taken      map[int]bool
}{taken: map[int]bool{}}

// reservePort gives a port of the loopback interface on which nothing listens, and whose
// bus port is free as well. No other test process is given it until releasePort. A
// program that knows nothing of our file may still take it.
func reservePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.file == nil {
		// The user's id keeps apart users who could not open each other's file.
		name := filepath.Join(os.TempDir(), fmt.Sprintf("gatekit-ports-%d", os.Getuid()))
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return 0, err
		}
		ports.file = f
	}
	for range 200 {
		port := firstPort + rand.IntN(portCount)
		if ports.taken[port] || !lockByte(ports.file, int64(port)) {
			continue
		}
		if !free(port) || !free(port+busOffset) {
			unlockByte(ports.file, int64(port))
			continue
		}
		ports.taken[port] = true
		return port, nil
	}
	return 0, errors.New("found no free port")
}

func releasePort(port int) {
	ports.Lock()
	defer ports.Unlock()
	if ports.taken[port] {
		delete(ports.taken, port)
		unlockByte(ports.file, int64(port))
	}
}

func free(port int) bool {
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
