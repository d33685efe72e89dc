package redistest

import (
	"os"
	"sync"
	"testing"
)

// deployment starts a server on first use and gives the same one, or the same error, to
// everybody.
type deployment struct {
	start func(shared bool) (*Server, error)

	mu     sync.Mutex // guards the fields below, and is held while starting
	tried  bool
	server *Server
	err    error
}

var (
	sharedSingle   = &deployment{start: func(shared bool) (*Server, error) { return startSingle(nodeConfig{shared: shared}) }}
	sharedCluster  = &deployment{start: startCluster}
	sharedSentinel = &deployment{start: startSentinel}
)

func (d *deployment) get(tb testing.TB) *Server {
	tb.Helper()
	requireRedis(tb)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.tried {
		d.tried = true
		d.server, d.err = d.start(true)
	}
	if d.err != nil {
		tb.Fatalf("redistest: %v", d.err)
	}
	return d.server
}

// stopShared ends the shared servers and removes the files of all servers of this
// process.
func stopShared() {
	for _, d := range []*deployment{sharedSingle, sharedCluster, sharedSentinel} {
		d.mu.Lock()
		if d.server != nil {
			d.server.remove()
		}
		d.mu.Unlock()
	}
	if dirLock != nil {
		if dir, err := processDir(); err == nil {
			os.RemoveAll(dir)
		}
	}
}

// Single gives the single server that all tests of this process share. It is started on
// first use.
func Single(tb testing.TB) *Server { tb.Helper(); return sharedSingle.get(tb) }

// Cluster gives the cluster of 3 masters with one replica each that all tests of this
// process share. It is started on first use, which takes about 2.5 s.
func Cluster(tb testing.TB) *Server { tb.Helper(); return sharedCluster.get(tb) }

// Sentinel gives the master with one replica and three sentinels that all tests of this
// process share. It is started on first use, which takes about 2.5 s.
func Sentinel(tb testing.TB) *Server { tb.Helper(); return sharedSentinel.get(tb) }

// NewSingle starts a single server for this test alone. Further flags of redis-server,
// such as "--maxmemory", "5mb", come last and win.
func NewSingle(tb testing.TB, flags ...string) *Server {
	tb.Helper()
	return dedicated(tb, func() (*Server, error) { return startSingle(nodeConfig{flags: flags}) })
}

// NewCluster starts a cluster of 3 masters and 3 replicas for this test alone, which
// takes about 2.5 s. A dead master is replaced by its replica after 2 to 2.5 s.
func NewCluster(tb testing.TB) *Server {
	tb.Helper()
	return dedicated(tb, func() (*Server, error) { return startCluster(false) })
}

// NewSentinel starts a master, a replica and three sentinels for this test alone, which
// takes about 2.5 s. A dead master is replaced after about 2.5 s; when it returns,
// sentinels take 10 s to make it a replica.
func NewSentinel(tb testing.TB) *Server {
	tb.Helper()
	return dedicated(tb, func() (*Server, error) { return startSentinel(false) })
}

func dedicated(tb testing.TB, start func() (*Server, error)) *Server {
	tb.Helper()
	requireRedis(tb)
	s, err := start()
	if err != nil {
		tb.Fatalf("redistest: %v", err)
	}
	tb.Cleanup(s.remove)
	return s
}

func startSingle(c nodeConfig) (*Server, error) {
	c.flags = append([]string{"--save", "", "--appendonly", "no"}, c.flags...)
	n, err := startNode(c)
	if err != nil {
		return nil, err
	}
	return &Server{name: "single", addrs: []string{n.addr}, nodes: []*Node{n}}, nil
}
