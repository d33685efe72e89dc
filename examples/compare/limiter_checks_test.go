package compare

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
)

var limiterChecks = []check[rateLimiter]{
	{"window", "most let through in any window, × quota", worstWindow},
	{"reply-lost", "permits charged for one call whose reply was lost once", onRedis(charged(plain, loseOne))},
	{"replies-lost", "the same, every reply lost", onRedis(charged(plain, loseAll))},
	{"replies-lost-once", "the same, every reply lost, go-redis with MaxRetries -1", onRedis(charged(once, loseAll))},
	{"retry-after", "the instant it tells to come again", retryAfter},
	{"two-limits", "two limits on a Cluster: permits that 3 denied calls cost", twoLimits},
	{"died", "keys without TTL when the process dies between two commands", onRedis(diedHalfWay)},
	{"clock", "limit per minute, Redis's clock steps back 1 h: wait it tells", onRedis(clockStepsBack)},
	{"frozen", "one call while Redis stands still, options as they come", onRedis(frozen(plain))},
	{"frozen-recommended", "the same, timeouts of 100 ms", onRedis(frozen(recommended))},
}

// onRedis leaves an experiment with Redis out for kits that use none.
func onRedis(f func(*testing.T, rateLimiter) (finding, error)) func(*testing.T, rateLimiter) (finding, error) {
	return func(t *testing.T, l rateLimiter) (finding, error) {
		if l.inProcess {
			return finding{cell: "in process"}, nil
		}
		return f(t, l)
	}
}

// onShared opens a limiter on the shared server.
func onShared(t *testing.T, l rateLimiter, limits ...limit) (asked, error) {
	client, err := newClient(t, recommended, redistest.Single(t).Addrs()...)
	if err != nil {
		return asked{}, err
	}
	return l.open(client, limits...)
}

// perHour is a limit that gives no permit back while an experiment runs, in any kit.
var perHour = limit{20, time.Hour}

func loseOne(p *redistest.Proxy) { p.DropReply(1) }
func loseAll(p *redistest.Proxy) { p.DropReplyEvery(1) }

// charged finds how much one call is charged while lose takes replies away: how many
// permits fewer its key has afterwards than a key without that call. The first call makes
// the key, so that all kits have loaded the script that they run from then on.
func charged(o clientOptions, lose func(*redistest.Proxy)) func(*testing.T, rateLimiter) (finding, error) {
	return func(t *testing.T, l rateLimiter) (finding, error) {
		proxy, key := redistest.NewProxy(t, redistest.Single(t).Addrs()[0]), redistest.Prefix(t)
		client, err := newClient(t, o, proxy.Addr())
		if err != nil {
			return finding{}, err
		}
		a, err := l.open(client, perHour)
		if err != nil {
			return finding{}, err
		}
		if _, err := a.all(key); err != nil {
			return finding{}, err
		}
		conns := proxy.Traffic().Conns
		lose(proxy)
		_, lost := a.all(key)
		proxy.Heal()
		left, err := drain(a.all, key, perHour.quota)
		if err != nil {
			return finding{}, err
		}
		if proxy.Traffic().Conns == conns {
			return finding{}, errors.New("it lost no reply")
		}
		n := perHour.quota - 1 - left
		cell := fmt.Sprint(n)
		if lost != nil {
			cell += ", and an error"
		}
		return finding{cell, n <= 1}, nil
	}
}

// twoLimits asks for permits of two limits on a key. The second limit is used up. It
// counts the permits that the first one loses.
func twoLimits(t *testing.T, l rateLimiter) (finding, error) {
	const many, few, denied = 10, 2, 3
	client, err := newClient(t, recommended, redistest.Cluster(t).Addrs()...)
	if err != nil {
		return finding{}, err
	}
	a, err := l.open(client, limit{many, time.Hour}, limit{few, 2 * time.Hour})
	if err != nil {
		return finding{}, err
	}
	key := redistest.Prefix(t)
	for i := range few + denied {
		got, err := a.all(key)
		if err != nil {
			return finding{}, err
		}
		if got.allowed != (i < few) {
			return finding{}, fmt.Errorf("call %d: allowed %v", i+1, got.allowed)
		}
	}
	left, err := drain(a.each[0], key, many)
	if err != nil {
		return finding{}, err
	}
	cost := many - few - left
	cell := fmt.Sprint(cost)
	if l.inProcess {
		cell += ", in process"
	}
	return finding{cell, cost == 0}, nil
}

// clockStepsBack uses a limit up, steps the clock of Redis back and asks how long to
// wait.
func clockStepsBack(t *testing.T, l rateLimiter) (finding, error) {
	server, clock := redistest.NewSingleWithClock(t)
	client, err := newClient(t, recommended, server.Addrs()...)
	if err != nil {
		return finding{}, err
	}
	lim := limit{3, time.Minute}
	a, err := l.open(client, lim)
	if err != nil {
		return finding{}, err
	}
	key := redistest.Prefix(t)
	if _, err := drain(a.all, key, lim.quota); err != nil {
		return finding{}, err
	}
	clock.Step(-time.Hour)
	got, err := a.all(key)
	if err != nil {
		return finding{}, err
	}
	if got.allowed {
		return finding{"none", true}, nil // early rather than late; another row counts what it lets through
	}
	wait := time.Until(got.retryAt)
	return finding{wait.Round(time.Second).String(), wait <= lim.window+5*time.Second}, nil
}

// frozen times one call to a server that stands still. It judges only whether the call
// ends, not how long it takes.
func frozen(o clientOptions) func(*testing.T, rateLimiter) (finding, error) {
	return func(t *testing.T, l rateLimiter) (finding, error) {
		server, key := redistest.NewSingle(t), redistest.Prefix(t)
		client, err := newClient(t, o, server.Addrs()...)
		if err != nil {
			return finding{}, err
		}
		a, err := l.open(client, perHour)
		if err != nil {
			return finding{}, err
		}
		if _, err := a.all(key); err != nil {
			return finding{}, err
		}
		took, cut := timed(func() { server.Freeze(t) }, func() { server.Thaw(t) }, func() { _, err = a.all(key) })
		if !cut && err == nil {
			return finding{}, errors.New("the server was not asked")
		}
		return stood(took, cut), nil
	}
}

// stood returns the finding for a call that took this long.
func stood(took time.Duration, cut bool) finding {
	if cut {
		return finding{fmt.Sprintf("over %.0f s", took.Seconds()), false}
	}
	return finding{fmt.Sprintf("%.2g s", took.Seconds()), true}
}
