package redistest

import (
	"context"
	"fmt"
	"strings"
)

const (
	sentinelMaster = "mymaster"
	sentinelCount  = 3
)

func startSentinel(shared bool) (_ *Server, err error) {
	s := &Server{name: "sentinel", masterName: sentinelMaster, ready: (*Node).sentinelReady}
	defer func() {
		if err != nil {
			s.remove()
			err = fmt.Errorf("start sentinel: %w", err)
		}
	}()
	flags := []string{"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"}
	master, err := startNode(nodeConfig{shared: shared, flags: flags})
	if err != nil {
		return nil, err
	}
	s.nodes = append(s.nodes, master)
	replica, err := startNode(nodeConfig{shared: shared,
		flags: append(flags, "--replicaof", fmt.Sprintf("127.0.0.1 %d", master.port))})
	if err != nil {
		return nil, err
	}
	s.nodes = append(s.nodes, replica)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	// Sentinels that find the replica at once need not wait for their next look, 10 s
	// later.
	if err := until(ctx, replica.linkedToMaster); err != nil {
		return nil, err
	}
	sentinels := make([]*Node, sentinelCount)
	err = together(sentinelCount, func(i int) (err error) {
		sentinels[i], err = startNode(nodeConfig{shared: shared, flags: []string{"--sentinel"},
			config: func(port int, dir string) string {
				return fmt.Sprintf("port %d\ndir %s\nsentinel monitor %s 127.0.0.1 %d 2\n", port, dir, sentinelMaster, master.port) +
					"sentinel down-after-milliseconds " + sentinelMaster + " 1000\n" +
					"sentinel failover-timeout " + sentinelMaster + " 3000\n" +
					"sentinel parallel-syncs " + sentinelMaster + " 1\n"
			}})
		return err
	})
	for _, n := range sentinels {
		if n != nil {
			s.nodes = append(s.nodes, n)
			s.addrs = append(s.addrs, n.addr)
		}
	}
	if err != nil {
		return nil, err
	}
	return s, s.awaitReady()
}

// sentinelReady says what is missing until this node, if it is a sentinel, could vote for
// a failover to the replica, or, if it is the replica, could take over.
func (n *Node) sentinelReady() error {
	if n.Role() != "sentinel" {
		return n.linkedToMaster()
	}
	info, err := n.info("sentinel")
	if err != nil {
		return err
	}
	state := field(info, "master0")
	if want := fmt.Sprintf("slaves=1,sentinels=%d", sentinelCount); !strings.Contains(state, "status=ok") || !strings.HasSuffix(state, want) {
		return fmt.Errorf("%s: sees %q, want status=ok and %s", n.addr, state, want)
	}
	return nil
}
