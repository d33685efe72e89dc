// Quickstart is a server whose GET /hello is limited to 5 requests in 10 seconds and 100
// an hour for each client address, with a page to try that on:
//
//	go run ./examples/quickstart
//
// It keeps the limits in the Redis at REDIS_URL or, without that, in an embedded Redis of
// its own. With -framework=nethttp, echo, echo5 or gin that framework serves. Only
// nethttp.go, echo.go, echo5.go and gin.go differ between them.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/examples/internal/demo"
	"github.com/gatekit/gatekit/ratelimit"
)

// budget is how long a request waits for Redis. On a laptop that is busy compiling, the
// default of 150 ms might be too short.
const budget = time.Second

func main() { demo.Main("quickstart", run) }

// run serves until ctx ends.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(stdout)
	addr := flags.String("addr", "127.0.0.1:8080", "`host:port` to listen on; port 0 takes a free one")
	framework := flags.String("framework", "nethttp", "what serves: nethttp, echo, echo5 or gin")
	if err := flags.Parse(args); err != nil {
		return err
	}
	mount, ok := frameworks[*framework]
	if !ok {
		return fmt.Errorf("-framework is %q, not nethttp, echo, echo5 or gin", *framework)
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	url := "http://" + listener.Addr().String()
	fmt.Fprintln(stdout, "listening on", url)

	redis, err := demo.Connect(getenv("REDIS_URL"), budget) // gatekit.RecommendedOptions, and a client with them
	if err != nil {
		return err
	}
	defer redis.Close()
	redisName := describe(ctx, redis)
	fmt.Fprintf(stdout, "limits are kept in %s\n\n", redisName)
	fmt.Fprintf(stdout, "open %s in a browser, or:\n\n", url)
	fmt.Fprintf(stdout, "  curl -i %s/hello\n", url)
	fmt.Fprintf(stdout, "  curl -s -o /dev/null -w '%%{http_code}\\n' '%s/hello?[1-6]'\n\n", url)
	fmt.Fprintf(stdout, "served by %s; -framework takes nethttp, echo, echo5 and gin. Ctrl-C ends it\n", *framework)

	kv, err := gatekit.Open(redis.Client, gatekit.Options{
		Budget: budget,
		Logger: slog.New(slog.NewTextHandler(stdout, nil)),
	})
	if err != nil {
		return err
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		return err
	}
	return demo.Serve(ctx, listener, mount(limiter, routes(redisName)))
}

// describe names the Redis that keeps the limits, without its password, and says if it
// does not answer.
func describe(ctx context.Context, redis demo.Redis) string {
	if len(redis.Addrs) == 0 {
		return "an embedded Redis, gone with this process (set REDIS_URL to use yours)"
	}
	name := "the Redis at " + strings.Join(redis.Addrs, ", ") + " (REDIS_URL)"
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := redis.Client.Ping(ctx).Err(); err != nil {
		name += ", which does not answer yet: until it does, this process decides alone"
	}
	return name
}
