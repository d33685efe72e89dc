package lua

import (
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// RecommendedOptions parses a Redis URL (redis://user:password@host:port/db, rediss:// for TLS; several servers of a
// cluster as further ?addr=host:port) into options for [redis.NewUniversalClient] that keep a budget of 150 ms:
//
//   - ContextTimeoutEnabled: without it the client ignores a deadline while it reads, and waits ReadTimeout, 5 s.
//   - ReadTimeout, WriteTimeout 100 ms: a frozen server costs one such wait, not 10 s.
//   - DialTimeout 250 ms, DialerRetries 1: a refused connection answers in 1 ms, not 1.7 s.
//   - PoolTimeout 100 ms: callers that queue for a connection give up within the budget.
//   - MaxRetries stays: scripts of this kit go out once whatever it says; other commands of the program keep their retries.
//
// For Sentinel set MasterName; for a cluster behind one address set IsClusterMode. Programs that build their own options can
// hold them against [CheckClient].
func RecommendedOptions(url string) (*redis.UniversalOptions, error) {
	cluster, err := redis.ParseClusterURL(url)
	if err != nil {
		return nil, fmt.Errorf("lua: Redis URL: %w", err)
	}
	single, err := redis.ParseURL(url)
	if err != nil && len(cluster.Addrs) < 2 {
		return nil, fmt.Errorf("lua: Redis URL: %w", err)
	}
	o := &redis.UniversalOptions{
		Addrs:                 cluster.Addrs,
		Username:              cluster.Username,
		Password:              cluster.Password,
		TLSConfig:             cluster.TLSConfig,
		ContextTimeoutEnabled: true,
		DialTimeout:           250 * time.Millisecond,
		DialerRetries:         1,
		ReadTimeout:           100 * time.Millisecond,
		WriteTimeout:          100 * time.Millisecond,
		PoolTimeout:           100 * time.Millisecond,
	}
	if single != nil {
		o.DB = single.DB
	}
	return o, nil
}

// CheckClient names the options of a client with which a call may take longer than its budget, one sentence each; nil
// means that none was found. It knows the clients of go-redis and asks no server. Waiting for a connection and dialing end
// at the deadline with any options, so the one that matters is ContextTimeoutEnabled.
func CheckClient(client Client) (problems []string) {
	deadlines := true
	switch c := client.(type) {
	case *redis.Client:
		deadlines = c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		deadlines = c.Options().ContextTimeoutEnabled
	case *redis.Ring:
		deadlines = c.Options().ContextTimeoutEnabled
	}
	if !deadlines {
		problems = append(problems, "ContextTimeoutEnabled is false: reads ignore the deadline and wait for ReadTimeout")
	}
	return problems
}
