package store_test

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// fakeServer answers each script with reply and everything else with an error, and counts
// the scripts. An empty reply hangs up.
func fakeServer(t testing.TB, reply string) (addr string, scripts *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	scripts = &atomic.Int64{}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn, reply, reply == "", scripts)
			}()
		}
	}()
	return l.Addr().String(), scripts
}

// answer serves one connection, until the client hangs up, or once when that is asked
// for.
func answer(conn net.Conn, reply string, once bool, scripts *atomic.Int64) {
	r := bufio.NewReader(conn)
	for {
		words, err := readCommand(r)
		if err != nil {
			return
		}
		isScript, answer := slices.Contains([]string{"evalsha", "eval"}, strings.ToLower(words[0])), "-ERR unknown command\r\n"
		if isScript {
			scripts.Add(1)
			answer = reply
		}
		if _, err := conn.Write([]byte(answer)); err != nil || isScript && once {
			return
		}
	}
}

func readCommand(r *bufio.Reader) (words []string, err error) {
	var n int
	if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil || n < 1 {
		return nil, fmt.Errorf("no command: %w", err)
	}
	for range n {
		var size int
		if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
			return nil, err
		}
		word := make([]byte, size+2)
		for read := 0; read < len(word); {
			m, err := r.Read(word[read:])
			if err != nil {
				return nil, err
			}
			read += m
		}
		words = append(words, string(word[:size]))
	}
	return words, nil
}

// TestOtherServer: the server at the address is no Redis, or not one that runs our
// scripts.
func TestOtherServer(t *testing.T) {
	for _, c := range []struct{ name, reply, want string }{
		{"the reply", "*5\r\n:1\r\n:9\r\n:0\r\n:1\r\n:7\r\n", "done"},
		{"too short", "*1\r\n:1\r\n", "malformed"},
		{"too long", "*6\r\n:1\r\n:9\r\n:0\r\n:1\r\n:7\r\n:7\r\n", "malformed"},
		{"empty array", "*0\r\n", "malformed"},
		{"null array", "*-1\r\n", "refused"},
		{"null", "$-1\r\n", "refused"},
		{"status", "+OK\r\n", "unknown"},
		{"integer", ":1\r\n", "unknown"},
		{"words", "*5\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n", "unknown"},
		{"nested", "*5\r\n*1\r\n:1\r\n:9\r\n:0\r\n:1\r\n:7\r\n", "unknown"},
		{"cut off", "*5\r\n:1\r\n:9\r\n", "unknown"},
		{"a number too large", "*5\r\n:99999999999999999999\r\n:9\r\n:0\r\n:1\r\n:7\r\n", "unknown"},
		{"a wrong length", "*x\r\n", "unknown"},
		{"a negative length", "*-7\r\n", "unknown"},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "unknown"},
		{"noise", "\x00\xff\r\n\r\n", "unknown"},
		{"an error of its own", "-WHAT is this\r\n", "refused"},
		{"an error with our words", "-ERR NOSCRIPT\r\n", "unavailable"},
		{"no script, ever", "-NOSCRIPT No matching script\r\n", atLast},
		{"loading, for ever", "-LOADING Redis is loading the dataset in memory\r\n", atLast},
		{"moving, for ever", "-TRYAGAIN Multiple keys request during rehashing of slot\r\n", atLast},
		{"end of file", "", "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr, scripts := fakeServer(t, c.reply)
			client := recommended(t, "redis://"+addr, roomy)
			kv := newStore(t, client, "gk")
			if c.want == atLast || c.want == "unavailable" || c.name == "cut off" { // these wait for it
				kv = newBudgetStore(t, client, "gk")
			}
			expectTake(t, "take", c.want, kv, windowSet, store.MakeTag("test"))
			if n := scripts.Load(); c.want == "unknown" && n != 1 {
				t.Errorf("sent %d times although the outcome is unknown", n)
			}
			still, start := redistest.WatchStandstill(t), time.Now()
			replies, errs := kv.LimitTakeMany(t.Context(), manyCalls(windowSet, "other", 2))
			for i, err := range errs {
				if (err == nil) != (c.want == "done") || err == nil && len(replies[i]) != 5 {
					t.Errorf("many, item %d: %v, %v", i, replies[i], err)
				}
			}
			still.Within(t, "many", start, 2*budget)
		})
	}
}
