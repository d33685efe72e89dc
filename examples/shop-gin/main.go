// Command shop-gin is a small shop on Gin, without scripts, whose carts live in sessions:
//
//	go run ./examples/shop-gin                                        # Redis in the process, nothing to install
//	REDIS_URL=redis://127.0.0.1:6379 go run ./examples/shop-gin -addr 127.0.0.1:0
//
// It shows a guest's cart that the login keeps and to which two tabs can add at once
// (cart.go), a checkout that orders once however often it is clicked (checkout.go), a
// login that counts only failures (login.go), limits per address and per user, messages
// for the next page, and the page that visitors see while Redis is down.
//
// Start in shop.go, where the routes are.
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

func main() { demo.Main("shop-gin", run) }

// run serves until ctx ends. The first line that it writes says where.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("shop-gin", flag.ContinueOnError)
	flags.SetOutput(stdout)
	addr := flags.String("addr", "127.0.0.1:8080", "`host:port` to listen on; port 0 picks a free one")
	// The default of 150 ms is for calls of an API. A page may take longer.
	budget := flags.Duration("budget", 500*time.Millisecond, "how long a request waits for one answer of Redis")
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
	s, err := newShop(kv, *insecure)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "listening on http://%s\n", listener.Addr())
	fmt.Fprintln(stdout, demo.CookieNote(*insecure))
	return demo.Serve(ctx, listener, s.handler())
}
