// Command login is a site with a login, a list of the user's devices, and a page that
// asks for the password once more.
//
//	go run ./examples/login                                        # Redis in the process, nothing to install
//	REDIS_URL=redis://127.0.0.1:6379 go run ./examples/login -addr 127.0.0.1:0
//
// It shows, in the order of a visit: a guest's setting that the login keeps, wrong
// passwords counted per account and per address, the session and its devices, a second
// proof of identity before a sensitive page, messages that are shown once, and the page
// that visitors see while Redis is down. With -framework=nethttp, echo, echo5 or gin that
// framework serves the same site.
//
// Start in routes.go; nethttp.go, echo.go, echo5.go and gin.go mount the routes. Copy
// throttle.go to a site of your own.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/examples/internal/demo"
)

func main() { demo.Main("login", run) }

// run serves until ctx ends. The first line that it writes says where.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("login", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:8080", "`host:port` to listen on; port 0 picks a free one")
	fresh := flags.Duration("fresh", 5*time.Minute, "how long a confirmed password opens the account page")
	// The default of 150 ms is for calls of an API. A page may take longer.
	budget := flags.Duration("budget", 500*time.Millisecond, "how long a request waits for one answer of Redis")
	framework := flags.String("framework", "nethttp", "what serves the site: nethttp, echo, echo5 or gin")
	insecure := flags.Bool("insecure-cookie", false, "a cookie without Secure, for browsers that refuse one on http://127.0.0.1 (Safari)")
	if err := flags.Parse(args); err != nil {
		return err
	}

	redis, err := demo.Connect(getenv("REDIS_URL"), *budget)
	if err != nil {
		return err
	}
	defer redis.Close()
	kv, err := gatekit.Open(redis.Client, gatekit.Options{Budget: *budget})
	if err != nil {
		return err
	}
	a, err := newApp(kv, *fresh, *insecure)
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
	fmt.Fprintln(stdout, demo.CookieNote(*insecure))
	return demo.Serve(ctx, listener, site)
}
