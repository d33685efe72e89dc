package redistest

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Server is one Redis deployment: a single server, a cluster, a master with sentinels, or
// the embedded one. A shared one lives until [Main] returns, any other until the test
// that asked for it ends.
type Server struct {
	name       string
	addrs      []string
	masterName string // for Sentinel only
	nodes      []*Node
	mini       *miniredis.Miniredis
	ready      func(*Node) error // says what a node is still waiting for; nil if nothing can be missing
}

// Name is "embedded", "single", "cluster" or "sentinel".
func (s *Server) Name() string { return s.name }

// Addrs are the host:port for a client: all nodes of a cluster, the sentinels, or the one
// server.
func (s *Server) Addrs() []string { return append([]string(nil), s.addrs...) }

// Nodes are the processes of the deployment; in a Sentinel deployment master, replica and
// sentinels, in that order at the start. The embedded server has none.
func (s *Server) Nodes() []*Node { return append([]*Node(nil), s.nodes...) }

// Miniredis is the embedded server itself, to set its time for example; nil for the
// others.
func (s *Server) Miniredis() *miniredis.Miniredis { return s.mini }

// URL is a value for REDIS_URL: redis://127.0.0.1:port. The URL of a cluster or of
// sentinels lists the further addresses as go-redis's ParseClusterURL and
// ParseFailoverURL read them.
func (s *Server) URL() string {
	u := url.URL{Scheme: "redis", Host: s.addrs[0]}
	query := url.Values{}
	if s.masterName != "" {
		query.Set("master_name", s.masterName)
	}
	for _, addr := range s.addrs[1:] {
		query.Add("addr", addr)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// Client connects to the deployment with the options of [NewClient], changed by modify.
// It is closed at the end of the test.
func (s *Server) Client(tb testing.TB, modify ...func(*redis.UniversalOptions)) redis.UniversalClient {
	tb.Helper()
	return newClient(tb, redis.UniversalOptions{
		Addrs:         s.addrs,
		MasterName:    s.masterName,
		IsClusterMode: s.name == "cluster",
	}, modify)
}

// NewClient connects to one address, be it of a [Node] or of a [Proxy]. Dialing is tried
// once. Dialing, reads and writes take at most 20 s each, more than any busy machine
// needs. Deadlines of a context are honoured, and 64 connections serve heavily parallel
// tests. Commands are repeated as go-redis does by default; set MaxRetries to -1 to see a
// fault where it happens. The client is closed at the end of the test.
func NewClient(tb testing.TB, addr string, modify ...func(*redis.UniversalOptions)) redis.UniversalClient {
	tb.Helper()
	return newClient(tb, redis.UniversalOptions{Addrs: []string{addr}}, modify)
}

const clientTimeout = 20 * time.Second

func newClient(tb testing.TB, o redis.UniversalOptions, modify []func(*redis.UniversalOptions)) redis.UniversalClient {
	tb.Helper()
	o.DialTimeout, o.DialerRetries = clientTimeout, 1
	o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = clientTimeout, clientTimeout, clientTimeout
	o.ContextTimeoutEnabled = true
	o.PoolSize = 64
	// One command less on each new connection.
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	for _, f := range modify {
		f(&o)
	}
	client := redis.NewUniversalClient(&o)
	tb.Cleanup(func() { client.Close() })
	return client
}

// Freeze stops all processes of the deployment; see [Node.Freeze].
func (s *Server) Freeze(tb testing.TB) { tb.Helper(); s.eachNode(tb, (*Node).Freeze) }

// Thaw undoes Freeze.
func (s *Server) Thaw(tb testing.TB) { tb.Helper(); s.eachNode(tb, (*Node).Thaw) }

// Kill ends all processes of the deployment; see [Node.Kill].
func (s *Server) Kill(tb testing.TB) { tb.Helper(); s.eachNode(tb, (*Node).Kill) }

// Restart starts all processes of the deployment anew (see [Node.Restart]) and waits
// until they work together again.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.eachNode(tb, (*Node).Restart)
	if err := s.awaitReady(); err != nil {
		tb.Fatalf("redistest: restart: %v", err)
	}
}

// Master is the node that serves a key at this moment: the owner of its slot in a
// cluster, or the one master.
func (s *Server) Master(tb testing.TB, key string) *Node {
	tb.Helper()
	if cluster, ok := s.Client(tb).(*redis.ClusterClient); ok {
		master, err := cluster.MasterForKey(tb.Context(), key)
		if err != nil {
			tb.Fatalf("redistest: master of %q: %v", key, err)
		}
		for _, n := range s.nodes {
			if n.addr == master.Options().Addr {
				return n
			}
		}
	}
	for _, n := range s.nodes {
		if n.Role() == "master" {
			return n
		}
	}
	tb.Fatalf("redistest: the %s deployment has no process that is a master", s.name)
	return nil
}

func (s *Server) eachNode(tb testing.TB, do func(*Node, testing.TB)) {
	tb.Helper()
	if len(s.nodes) == 0 {
		tb.Fatalf("redistest: the %s server is no process of its own", s.name)
	}
	for _, n := range s.nodes {
		do(n, tb)
	}
}

// awaitReady returns when all nodes work together.
func (s *Server) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return together(len(s.nodes), func(i int) error {
		return until(ctx, func() error {
			if s.ready == nil {
				return nil
			}
			return s.ready(s.nodes[i])
		})
	})
}

// remove ends all processes.
func (s *Server) remove() {
	for _, n := range s.nodes {
		n.remove()
	}
}

// Each runs f as a subtest on the embedded server, on a single server and on a cluster;
// the last two are shared.
func Each(t *testing.T, f func(t *testing.T, s *Server)) {
	t.Helper()
	for _, d := range []struct {
		name string
		get  func(testing.TB) *Server
	}{
		{"embedded", Embedded},
		{"single", Single},
		{"cluster", Cluster},
	} {
		t.Run(d.name, func(t *testing.T) { f(t, d.get(t)) })
	}
}
