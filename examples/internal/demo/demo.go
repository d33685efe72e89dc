// Package demo holds the common part of the example programs: how a program starts and
// ends, and which Redis it uses.
package demo

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
	"github.com/gatekit/gatekit"
	"github.com/redis/go-redis/v9"
)

// A Program serves until ctx ends. It takes nothing from the process itself, so that
// tests can run it too.
type Program func(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error

// Main runs a program until the process gets an interrupt or SIGTERM. An error goes to
// the standard error output, behind the program's name, and the exit code is 1 then.
func Main(name string, run Program) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Redis is the server that a program keeps its limits and sessions in.
type Redis struct {
	Client redis.UniversalClient
	Addrs  []string // of the servers that REDIS_URL names; none if the server is inside this process
	Close  func()   // closes the client, and ends a server inside this process
}

// Connect returns a client of the server at url. Without a url it starts a server inside
// this process, which forgets everything when it is closed. The budget is how long the
// client waits for a connection, and for an answer. Connect sends nothing to the server
// yet, so a server that is away is no error.
func Connect(url string, budget time.Duration) (Redis, error) {
	embedded := url == ""
	closeServer := func() {}
	if embedded {
		server, err := miniredis.Run()
		if err != nil {
			return Redis{}, err
		}
		server.ClockTTL(true) // keys expire by the clock, as those of a real server do
		url, closeServer = "redis://"+server.Addr(), server.Close
	}
	opts, err := gatekit.RecommendedOptions(url)
	if err != nil {
		return Redis{}, fmt.Errorf("REDIS_URL: %w", err)
	}
	opts.DialTimeout, opts.PoolTimeout, opts.ReadTimeout, opts.WriteTimeout = budget, budget, budget, budget
	client := redis.NewUniversalClient(opts)
	r := Redis{Client: client, Close: func() { _ = client.Close(); closeServer() }}
	if !embedded {
		r.Addrs = opts.Addrs
	}
	return r, nil
}

// Serve answers until ctx ends. Then it gives requests under way 5 s to finish.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
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

// CookieNote returns a line on which browsers take the session cookie of a site on
// http://127.0.0.1.
func CookieNote(insecure bool) string {
	if insecure {
		return "the cookie is not Secure: for a try on this machine only"
	}
	return "the cookie is Secure: Chrome, Edge and Firefox take it on http://127.0.0.1; for Safari add -insecure-cookie"
}
