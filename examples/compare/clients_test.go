package compare

import (
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	redigo "github.com/gomodule/redigo/redis"
	"github.com/redis/go-redis/v9"
)

// clientOptions are how a kit's Redis client is built.
type clientOptions int

const (
	plain       clientOptions = iota // only an address is set
	once                             // the same, but it never sends a command again
	recommended                      // gatekit.RecommendedOptions, whose timeouts are 100 ms
)

// newClient connects to a server, or to a cluster if there are several addresses, until
// the test ends.
func newClient(t *testing.T, o clientOptions, addrs ...string) (redis.UniversalClient, error) {
	opts := &redis.UniversalOptions{Addrs: addrs}
	switch o {
	case once:
		opts.MaxRetries = -1
	case recommended:
		url := "redis://" + addrs[0]
		if len(addrs) > 1 {
			url += "?addr=" + strings.Join(addrs[1:], "&addr=")
		}
		var err error
		if opts, err = gatekit.RecommendedOptions(url); err != nil {
			return nil, err
		}
	}
	client := redis.NewUniversalClient(opts)
	t.Cleanup(func() { client.Close() })
	return client, nil
}

// newPool returns a pool for kits that use redigo, made as they make it, with the
// timeouts of gatekit.RecommendedOptions.
func newPool(addr string) *redigo.Pool {
	const wait = 100 * time.Millisecond
	return &redigo.Pool{
		MaxIdle:      10,
		IdleTimeout:  4 * time.Minute,
		TestOnBorrow: func(c redigo.Conn, _ time.Time) error { _, err := c.Do("PING"); return err },
		Dial: func() (redigo.Conn, error) {
			return redigo.Dial("tcp", addr, redigo.DialConnectTimeout(wait), redigo.DialReadTimeout(wait), redigo.DialWriteTimeout(wait))
		},
	}
}

// cutoff is how long an experiment waits for a call to a server that stands still.
const cutoff = 15 * time.Second

// timed returns how long a call takes after freeze has stopped the server. A call that is
// cut off ends after thaw, before the test ends.
func timed(freeze, thaw, call func()) (took time.Duration, cut bool) {
	freeze()
	start, done := time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	timer := time.NewTimer(cutoff)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		cut = true
	}
	took = time.Since(start)
	thaw()
	<-done
	return took, cut
}
