package redistest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/redis/go-redis/v9"
)

func TestClusterIsReadyOnEveryNode(t *testing.T) {
	redistest.Long(t)
	s := redistest.Cluster(t)
	roles := map[string]int{}
	for _, node := range s.Nodes() {
		roles[node.Role()]++
		client := redistest.NewClient(t, node.Addr())
		if info := client.ClusterInfo(t.Context()).Val(); !strings.Contains(info, "cluster_state:ok") {
			t.Errorf("%s: %s", node.Addr(), info)
		}
		if n := strings.Count(client.ClusterNodes(t.Context()).Val(), " connected"); n != 6 {
			t.Errorf("%s is connected to %d of 6 nodes", node.Addr(), n)
		}
	}
	if roles["master"] != 3 || roles["slave"] != 3 {
		t.Errorf("roles = %v, want 3 masters and 3 replicas", roles)
	}
	client, prefix := s.Client(t), redistest.Prefix(t)
	for i := range 100 { // enough to hit all masters
		if err := client.Set(t.Context(), fmt.Sprint(prefix, i), i, time.Minute).Err(); err != nil {
			t.Fatalf("write %d on a fresh cluster: %v", i, err)
		}
	}
	if got := len(redistest.Keys(t, client, prefix)); got != 100 {
		t.Errorf("Keys found %d of 100 keys on all masters", got)
	}
}

func TestReplicasReplaceAKilledMaster(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	for _, d := range []struct {
		name  string
		start func(testing.TB) *redistest.Server
	}{
		{"cluster", redistest.NewCluster},
		{"sentinel", redistest.NewSentinel},
	} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			s := d.start(t)
			old := s.Master(t, "k")
			old.Kill(t)
			began := time.Now()
			eventually(t, time.Minute, func() error {
				// A new client each time, as an existing one may keep its old map of the
				// cluster for a minute.
				client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: s.Addrs(), IsClusterMode: d.name == "cluster",
					MasterName: map[string]string{"sentinel": "mymaster"}[d.name], MaxRetries: -1, MaxRedirects: -1, DialerRetries: 1})
				defer client.Close()
				return client.Set(t.Context(), "k", "v", 0).Err()
			})
			// Each node hears of it in its own time.
			eventually(t, time.Minute, func() error {
				if now := s.Master(t, "k"); now == old || now.Role() != "master" {
					return fmt.Errorf("master is %s (%s), was %s", now.Addr(), now.Role(), old.Addr())
				}
				return nil
			})
			t.Logf("writable again after %v", time.Since(began).Round(time.Millisecond))
			if d.name == "sentinel" {
				return // sentinels take 10 s to make a returned master a replica
			}
			old.Restart(t)
			eventually(t, time.Minute, func() error {
				if role := old.Role(); role != "slave" {
					return fmt.Errorf("the old master came back as %q", role)
				}
				return nil
			})
			s.Restart(t)
			if err := s.Client(t, noRetries).Set(t.Context(), "k", "v", 0).Err(); err != nil {
				t.Errorf("the restarted cluster is not ready: %v", err)
			}
		})
	}
}

func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", within, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
