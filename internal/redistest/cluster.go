package redistest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const clusterSize = 6 // three masters, each with a replica

func startCluster(shared bool) (*Server, error) {
	s := &Server{name: "cluster", nodes: make([]*Node, clusterSize), ready: (*Node).clusterReady}
	err := together(clusterSize, func(i int) (err error) {
		s.nodes[i], err = startNode(nodeConfig{shared: shared, flags: []string{
			"--save", "", "--appendonly", "no",
			"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
			// A dead master is noticed after this many milliseconds, and a replica may
			// replace it however long it has been cut off.
			"--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0",
			// By default a master waits 5 s for more replicas before it feeds the first.
			"--repl-diskless-sync-delay", "0",
		}})
		return err
	})
	if err == nil {
		err = s.joinCluster()
	}
	if err == nil && shared {
		err = s.bePatient()
	}
	if err != nil {
		for _, n := range s.nodes {
			if n != nil {
				n.remove()
			}
		}
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	return s, nil
}

func (s *Server) joinCluster() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	args := []string{"--cluster", "create"}
	for _, n := range s.nodes {
		s.addrs = append(s.addrs, n.addr)
		args = append(args, n.addr)
	}
	args = append(args, "--cluster-replicas", "1", "--cluster-yes")
	if out, err := exec.CommandContext(ctx, "redis-cli", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("redis-cli --cluster create: %w\n%s", err, out)
	}
	return s.awaitReady()
}

// bePatient is for a cluster that no test breaks: on a starved machine a second's silence
// is no death. The nodes would find each other more slowly if they were started so.
func (s *Server) bePatient() error {
	for _, n := range s.nodes {
		if _, err := ask(context.Background(), n.addr, "CONFIG", "SET", "cluster-node-timeout", "15000"); err != nil {
			return fmt.Errorf("%s: cluster-node-timeout: %w", n.addr, err)
		}
	}
	return nil
}

// clusterReady says what is missing until this node serves its slots, knows the roles of
// all others, and, if it is a replica, holds its master's data. redis-cli returns before
// that.
func (n *Node) clusterReady() error {
	ctx := context.Background()
	info, err := ask(ctx, n.addr, "CLUSTER", "INFO")
	if err != nil {
		return err
	}
	if state := field(info, "cluster_state"); state != "ok" {
		return fmt.Errorf("%s: cluster_state is %q", n.addr, state)
	}
	nodes, err := ask(ctx, n.addr, "CLUSTER", "NODES")
	if err != nil {
		return err
	}
	if replicas := strings.Count(nodes, "slave "); replicas != clusterSize/2 {
		return fmt.Errorf("%s: knows %d replicas", n.addr, replicas)
	}
	return n.linkedToMaster()
}

// linkedToMaster says what is missing until this node, if it is a replica, follows its
// master.
func (n *Node) linkedToMaster() error {
	info, err := n.info("replication")
	if err != nil {
		return err
	}
	if field(info, "role") == "slave" && field(info, "master_link_status") != "up" {
		return fmt.Errorf("%s: does not follow its master yet", n.addr)
	}
	return nil
}

// until calls f until it returns nil. The error of f says what is still missing.
func until(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
