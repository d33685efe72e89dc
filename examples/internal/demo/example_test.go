package demo_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gatekit/gatekit/examples/internal/demo"
)

// A program that counts its visits. Its main is one line: demo.Main("visits", run).
func Example() {
	run := func(ctx context.Context, _ []string, getenv func(string) string, stdout io.Writer) error {
		redis, err := demo.Connect(getenv("REDIS_URL"), 10*time.Second)
		if err != nil {
			return err
		}
		defer redis.Close()
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		fmt.Fprintln(stdout, "listening")
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		go visitOnce(listener.Addr().String(), stop)
		return demo.Serve(ctx, listener, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(stdout, "visit", redis.Client.Incr(r.Context(), "visits").Val())
		}))
	}
	noEnvironment := func(string) string { return "" }
	fmt.Println(run(context.Background(), nil, noEnvironment, os.Stdout))
	// Output:
	// listening
	// visit 1
	// <nil>
}

func visitOnce(addr string, then func()) {
	defer then()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Get("http://" + addr); err == nil {
		_ = resp.Body.Close()
	}
}
