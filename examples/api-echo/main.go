// Command api-echo is an API on Echo v4 whose clients have keys and plans:
//
//	go run ./examples/api-echo                                        # Redis in the process, nothing to install
//	REDIS_URL=redis://127.0.0.1:6379 go run ./examples/api-echo -addr 127.0.0.1:0
//
// It prints keys and curl lines to try it with. It shows, in the order of the files: keys
// of which the program stores only hashes (tenants.go); quotas by plan, a new quota for
// one tenant that keeps what was spent, and a limit per address for requests without a
// valid key (limits.go); a route that costs more than others and a health check that is
// not counted (api.go); errors as problem details and a log without keys (errors.go).
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/examples/internal/demo"
	"github.com/gatekit/gatekit/ratelimit"
)

func main() { demo.Main("api-echo", run) }

// run serves until ctx ends. The first line that it writes says where, and from "log:" on
// it writes a line for each request.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("api-echo", flag.ContinueOnError)
	flags.SetOutput(stdout)
	addr := flags.String("addr", "127.0.0.1:8080", "`host:port` to listen on; port 0 picks a free one")
	budget := flags.Duration("budget", 500*time.Millisecond, "how long a request waits for one answer of Redis")
	if err := flags.Parse(args); err != nil {
		return err
	}
	redis, err := demo.Connect(getenv("REDIS_URL"), *budget)
	if err != nil {
		return err
	}
	defer redis.Close()
	logger := slog.New(slog.NewJSONHandler(stdout, nil))
	kv, err := gatekit.Open(redis.Client, gatekit.Options{Budget: *budget, Logger: logger})
	if err != nil {
		return err
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	fmt.Fprintln(stdout, "listening on", url)
	tenants, keys := demoTenants()
	keys.print(stdout, url)
	fmt.Fprintln(stdout, "log:")
	return demo.Serve(ctx, listener, (&api{limiter, tenants, logger}).handler())
}

// print shows the keys once. The program keeps only their hashes.
func (k demoKeys) print(w io.Writer, url string) {
	fmt.Fprintf(w, `
key of acme (plan pro):      %[2]s
key of initech (plan free):  %[3]s
key of the operator:         %[4]s

  curl -i -H 'Authorization: Bearer %[3]s' %[1]s/v1/items
  curl -i -H 'Authorization: Bearer %[3]s' -X POST %[1]s/v1/reports    # costs %[5]d
  curl -s -H 'Authorization: Bearer %[3]s' %[1]s/v1/usage              # costs nothing
  curl -s -H 'Authorization: Bearer %[4]s' -X PUT --json '{"per_minute": 30}' %[1]s/admin/tenants/initech/quota
  curl -i -H 'Authorization: Bearer guess' '%[1]s/v1/items?[1-21]'     # an address may be wrong 20 times a minute

`, url, k.acme, k.initech, k.operator, reportCost)
}
