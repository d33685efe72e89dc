// Quickstart is a server whose GET /hello is limited to 5 requests in 10 seconds and 100 an hour for each client address,
// with a page to try that on:
//
//	go run ./examples/quickstart
//
// It keeps the limits in the Redis at REDIS_URL, or without one in an embedded Redis of its own. With -framework=nethttp,
// echo, echo5 or gin that framework serves; nethttp.go and its neighbours are all that differs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit/lua"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/redis/go-redis/v9"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

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

	client, redisName, closeRedis, err := connect(ctx, getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	defer closeRedis()
	fmt.Fprintf(stdout, "limits are kept in %s\n\n", redisName)
	fmt.Fprintf(stdout, "open %s in a browser, or:\n\n", url)
	fmt.Fprintf(stdout, "  curl -i %s/hello\n", url)
	fmt.Fprintf(stdout, "  curl -s -o /dev/null -w '%%{http_code}\\n' '%s/hello?[1-6]'\n\n", url)
	fmt.Fprintf(stdout, "served by %s; -framework takes nethttp, echo, echo5 and gin. Ctrl-C ends it\n", *framework)

	limiter, err := ratelimit.New(client, ratelimit.Options{
		Budget: time.Second, // patient: on a laptop that is busy compiling, the default of 150 ms might be missed
		Logger: slog.New(slog.NewTextHandler(stdout, nil)),
	})
	if err != nil {
		return err
	}
	return serve(ctx, listener, mount(limiter, routes(redisName)))
}

// connect returns a client of the Redis at url, or of an embedded one, and what to call it.
func connect(ctx context.Context, url string) (client redis.UniversalClient, name string, closeAll func(), err error) {
	if url == "" {
		server, err := miniredis.Run()
		if err != nil {
			return nil, "", nil, err
		}
		server.ClockTTL(true) // keys expire by the clock, as in a real server
		client = redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
		name = "an embedded Redis, gone with this process (set REDIS_URL to use yours)"
		return client, name, func() { _ = client.Close(); server.Close() }, nil
	}
	opts, err := lua.RecommendedOptions(url)
	if err != nil {
		return nil, "", nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	client = redis.NewUniversalClient(opts)
	name = "the Redis at " + strings.Join(opts.Addrs, ", ") + " (REDIS_URL)"
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		name += ", which does not answer yet: until it does, this process decides alone"
	}
	return client, name, func() { _ = client.Close() }, nil
}

// serve serves until ctx ends, and then finishes the requests that are under way.
func serve(ctx context.Context, listener net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}
