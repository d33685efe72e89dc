package redistest

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Counts is how often each command was called, under its name in lower case; a subcommand
// counts as "config|get".
type Counts map[string]int64

// Of sums the calls of the named commands, in any case.
func (c Counts) Of(names ...string) int64 {
	var sum int64
	for _, name := range names {
		sum += c[strings.ToLower(name)]
	}
	return sum
}

// Total sums the calls of all commands.
func (c Counts) Total() int64 {
	var sum int64
	for _, n := range c {
		sum += n
	}
	return sum
}

func (c Counts) minus(before Counts) Counts {
	diff := Counts{}
	for name, n := range c {
		if n != before[name] {
			diff[name] = n - before[name]
		}
	}
	return diff
}

// Stat counts the calls of one command since the server was started, and their time.
type Stat struct {
	Calls int64
	Usec  int64 // µs of the server's time, without the network
}

// CommandStats reads INFO commandstats, by command name in lower case; of a cluster, the
// sum over its masters. Commands that scripts called are included, beside the EVALSHA
// that ran them. The embedded server has no such statistics.
func CommandStats(tb testing.TB, client redis.UniversalClient) map[string]Stat {
	tb.Helper()
	sum := map[string]Stat{}
	for _, info := range infos(tb, client, "commandstats") {
		for line := range strings.Lines(info) {
			// cmdstat_get:calls=3,usec=5,usec_per_call=1.67,rejected_calls=0,failed_calls=0
			name, values, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":")
			if !ok {
				continue
			}
			stat := sum[name]
			for value := range strings.SplitSeq(values, ",") {
				what, digits, _ := strings.Cut(value, "=")
				n, _ := strconv.ParseInt(digits, 10, 64)
				switch what {
				case "calls":
					stat.Calls += n
				case "usec":
					stat.Usec += n
				}
			}
			sum[name] = stat
		}
	}
	if len(sum) == 0 {
		tb.Fatal("redistest: this server keeps no command statistics")
	}
	return sum
}

// Commands counts the commands that the server executed while f ran, those inside scripts
// too. It counts the commands of all clients, so take a [NewSingle], or a test that does
// not run in parallel. It leaves out the commands that clients, replicas and this
// function send for themselves (HELLO, CLIENT, CLUSTER, COMMAND, REPLCONF, INFO).
func Commands(tb testing.TB, client redis.UniversalClient, f func()) Counts {
	tb.Helper()
	count := func() Counts {
		calls := Counts{}
		for name, stat := range CommandStats(tb, client) {
			main, _, _ := strings.Cut(name, "|")
			if !slices.Contains([]string{"hello", "client", "cluster", "command", "replconf", "info"}, main) {
				calls[name] = stat.Calls
			}
		}
		return calls
	}
	before := count()
	f()
	return count().minus(before)
}

// Changes counts the changes to the data set while f ran, as Redis counts them for its
// snapshots: 0 means that nothing was written. Others' writes count as well, as for
// [Commands].
func Changes(tb testing.TB, client redis.UniversalClient, f func()) int64 {
	tb.Helper()
	count := func() (sum int64) {
		for _, info := range infos(tb, client, "persistence") {
			n, err := strconv.ParseInt(field(info, "rdb_changes_since_last_save"), 10, 64)
			if err != nil {
				tb.Fatal("redistest: this server does not count changes")
			}
			sum += n
		}
		return sum
	}
	before := count()
	f()
	return count() - before
}

// askTimeout bounds the questions of this file to a server. They don't use the test's own
// context, which has ended when a Cleanup asks.
const askTimeout = time.Minute

// infos reads one INFO section from each master.
func infos(tb testing.TB, client redis.UniversalClient, section string) []string {
	tb.Helper()
	var mu sync.Mutex
	var all []string
	eachMaster(tb, client, func(ctx context.Context, master redis.UniversalClient) error {
		info, err := master.Info(ctx, section).Result()
		mu.Lock()
		defer mu.Unlock()
		all = append(all, info)
		return err
	})
	return all
}

// eachMaster runs f for each server that holds keys of its own, on a cluster for several
// at the same time.
func eachMaster(tb testing.TB, client redis.UniversalClient, f func(context.Context, redis.UniversalClient) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	each := func(ctx context.Context, node *redis.Client) error { return f(ctx, node) }
	var err error
	switch client := client.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(ctx, each)
	case *redis.Ring:
		err = client.ForEachShard(ctx, each)
	default:
		err = f(ctx, client)
	}
	if err != nil {
		tb.Fatalf("redistest: %v", err)
	}
}
