// Command login is a site with a login, a list of the user's devices, and a page that asks for the password once more.
//
//	go run ./examples/login                                        # Redis in the process, nothing to install
//	REDIS_URL=redis://127.0.0.1:6379 go run ./examples/login -addr 127.0.0.1:0
//
// It shows, in the order of a visit: a guest's setting that the login keeps, wrong passwords counted per account and per
// address, the session and its devices, a second proof of identity ahead of a sensitive page, messages that are shown
// once, and what visitors see while Redis is down. With -framework=nethttp, echo, echo5 or gin that framework serves the same
// site.
//
// Start in routes.go; nethttp.go and its neighbours mount the routes. throttle.go is the part worth copying to a site of one's own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit/lua"
	"github.com/redis/go-redis/v9"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "login:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. The first line that it writes says where.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("login", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:8080", "`host:port` to listen on; port 0 picks a free one")
	fresh := flags.Duration("fresh", 5*time.Minute, "how long a confirmed password opens the account page")
	// A page may take longer than a call of an API, for which the default of 150 ms is made.
	budget := flags.Duration("budget", 500*time.Millisecond, "how long a request waits for one answer of Redis")
	framework := flags.String("framework", "nethttp", "what serves the site: nethttp, echo, echo5 or gin")
	insecure := flags.Bool("insecure-cookie", false, "a cookie without Secure, for browsers that refuse one on http://127.0.0.1 (Safari)")
	if err := flags.Parse(args); err != nil {
		return err
	}

	client, stop, err := connect(getenv("REDIS_URL"), *budget)
	if err != nil {
		return err
	}
	defer stop()
	a, err := newApp(client, *budget, *fresh, *insecure)
	if err != nil {
		return err
	}
	site, err := a.handler(*framework, a.routes())
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "listening on http://%s\n", listener.Addr())
	if *insecure {
		fmt.Fprintln(stdout, "the cookie is not Secure: for a try on this machine only")
	} else {
		fmt.Fprintln(stdout, "the cookie is Secure: Chrome, Edge and Firefox take it on http://127.0.0.1; for Safari add -insecure-cookie")
	}
	return serve(ctx, listener, site)
}

// serve answers until ctx ends, and then lets requests under way finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return server.Close()
	}
	return nil
}

// connect returns a client of the server at url, or of one inside this process, which forgets all when it ends.
func connect(url string, budget time.Duration) (client redis.UniversalClient, stop func(), err error) {
	embedded := func() {}
	if url == "" {
		mini, err := miniredis.Run()
		if err != nil {
			return nil, nil, err
		}
		mini.ClockTTL(true) // keys expire by the clock, as those of a real server do
		url, embedded = "redis://"+mini.Addr(), mini.Close
	}
	opts, err := lua.RecommendedOptions(url)
	if err != nil {
		return nil, nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	opts.DialTimeout, opts.PoolTimeout, opts.ReadTimeout, opts.WriteTimeout = budget, budget, budget, budget
	client = redis.NewUniversalClient(opts)
	return client, func() { _ = client.Close(); embedded() }, nil
}
