package store_test

import (
	"context"
	"net"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/gatekit/gatekit/internal/store"
)

// tooLong matches a length for which the client would allocate too much in advance.
var tooLong = regexp.MustCompile(`[*~>%|$=!][+]?0*[1-9]\d{4,}`)

// FuzzReply answers a take with any bytes and hangs up. It must end in a decision of the
// right length or in ErrUnavailable, and must not have been sent again unless the bytes
// prove that it did not run.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{
		"*5\r\n:1\r\n:9\r\n:0\r\n:1\r\n:7\r\n", "*5\r\n:1\r\n:9\r\n:0\r\n:1\r\n", "*0\r\n", "*-1\r\n", "$-1\r\n", "_\r\n", "+OK\r\n", ":1\r\n", ",1.5\r\n", "(123\r\n", "#t\r\n",
		"*5\r\n$1\r\n1\r\n$1\r\n9\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n7\r\n", "%1\r\n:1\r\n:2\r\n", "~5\r\n:1\r\n:9\r\n:0\r\n:1\r\n:7\r\n", ">2\r\n+a\r\n+b\r\n", "|1\r\n+a\r\n:1\r\n*5\r\n:1\r\n:9\r\n:0\r\n:1\r\n:7\r\n",
		"-NOSCRIPT No matching script\r\n", "-LOADING x\r\n", "-TRYAGAIN x\r\n", "-MOVED 1 127.0.0.1:1\r\n", "-ASK 1 127.0.0.1:1\r\n", "-BUSY x\r\n", "-ERR x\r\n", "-\r\n", "!3\r\nERR\r\n", "\r\n", "HTTP/1.1 200 OK\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		if tooLong.Match(reply) {
			return
		}
		var scripts atomic.Int64
		client := redis.NewClient(&redis.Options{
			ContextTimeoutEnabled: true, DialerRetries: 1, PoolSize: 1, ReadTimeout: time.Minute,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			Dialer: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() {
					defer theirs.Close()
					answer(theirs, string(reply), true, &scripts)
				}()
				return ours, nil
			},
		})
		defer client.Close()
		kv, err := store.New(client, store.Options{Budget: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		got, err := kv.LimitTake(context.Background(), store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1})
		if took := time.Since(start); took > 30*time.Second { // no budget, and not the client's time-out of a minute
			t.Errorf("%q: took %v: %v", reply, took, err)
		}
		switch outcome := is(err); {
		case outcome == "done":
			if len(got) != 5 {
				t.Errorf("%q: a reply of %d integers", reply, len(got))
			}
			_, _, _, _, _ = got.Verdict(), got.Remaining(0), got.RetryAfter(0), got.ResetAfter(0), got.Stamp(0)
		case got != nil || outcome == "no error of package lua":
			t.Errorf("%q: %v, %v", reply, got, err)
		case outcome == "unknown" && scripts.Load() > 1:
			t.Errorf("%q: sent %d times: %v", reply, scripts.Load(), err)
		}
	})
}
