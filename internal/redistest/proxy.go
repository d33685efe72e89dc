package redistest

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Proxy stands between clients and one server. It understands the Redis protocol: it
// counts the commands that pass, and its faults hit exactly one request or reply. All
// faults are off at first, may be switched at any time, and are independent of each
// other.
//
// The faults that pick a command do so by name, in any case. Without names they pick
// scripts: EVAL, EVALSHA, FCALL and their read-only forms. A command inside MULTI has its
// reply only in that of EXEC, so it is EXEC that has to be named.
//
// The proxy dials the server when a client has sent its first command. So it accepts a
// client of a dead server and then cuts it off.
type Proxy struct {
	tb       testing.TB
	addr     string
	upstream string
	wg       sync.WaitGroup // the goroutines of the listener and of all connections

	mu         sync.Mutex // guards the fields below
	listener   net.Listener
	closed     bool
	conns      map[*proxyConn]struct{}
	traffic    Traffic
	delay      time.Duration
	blackHole  bool
	drop       pick
	swallow    pick
	dropEvery  int
	sinceEvery int
}

// Traffic counts the commands and bytes that passed a proxy, as the client saw them.
type Traffic struct {
	// Commands are the commands that clients sent, also those that a fault kept from the
	// server. They include the commands by which go-redis sets up a connection (HELLO,
	// CLIENT SETINFO).
	Commands Counts
	// RoundTrips counts how often a connection turned from listening to asking. A
	// pipeline is one, unless it is so long (tens of kB) that the client sends it in
	// parts.
	RoundTrips int64
	// Conns is the number of connections accepted.
	Conns int64
	// Sent and Received are bytes.
	Sent, Received int64
}

// NewProxy starts a proxy in front of the server at addr and ends it with the test.
func NewProxy(tb testing.TB, addr string) *Proxy {
	tb.Helper()
	p := &Proxy{tb: tb, upstream: addr, conns: map[*proxyConn]struct{}{}, traffic: Traffic{Commands: Counts{}}}
	var err error
	for range 10 {
		var port int
		if port, err = reservePort(); err != nil {
			break
		}
		p.addr = loopback(port)
		if err = p.listen(); err == nil {
			tb.Cleanup(func() { p.close(); releasePort(port) })
			return p
		}
		releasePort(port)
	}
	tb.Fatalf("redistest: start proxy: %v", err)
	return nil
}

// Addr is the host:port on which the proxy listens, for life.
func (p *Proxy) Addr() string { return p.addr }

// Through makes a client reach each proxied server by its proxy, wherever it learned the
// server's address: pass it to [Server.Client]. With one proxy for each of
// [Server.Nodes], all a cluster client does goes through proxies.
func Through(proxies ...*Proxy) func(*redis.UniversalOptions) {
	return func(o *redis.UniversalOptions) {
		dialer := &net.Dialer{Timeout: o.DialTimeout}
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if i := slices.IndexFunc(proxies, func(p *Proxy) bool { return p.upstream == addr }); i >= 0 {
				addr = proxies[i].addr
			}
			return dialer.DialContext(ctx, network, addr)
		}
	}
}

// Traffic returns the counts since the proxy was started.
func (p *Proxy) Traffic() Traffic {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.traffic
	t.Commands = maps.Clone(t.Commands)
	return t
}

// During returns the counts of the time while f ran. Use the client once before, or its
// connection set-up counts as well.
func (p *Proxy) During(f func()) Traffic {
	before := p.Traffic()
	f()
	after := p.Traffic()
	return Traffic{
		Commands:   after.Commands.minus(before.Commands),
		RoundTrips: after.RoundTrips - before.RoundTrips,
		Conns:      after.Conns - before.Conns,
		Sent:       after.Sent - before.Sent,
		Received:   after.Received - before.Received,
	}
}

// DropReply loses the k-th reply from now to a script, or to one of the commands named:
// the server has executed it, but the connection is closed in place of the reply. 1 is
// the next one, 0 calls it off. Replies on all connections count, in the order they
// arrive; NOSCRIPT does not, because nothing was executed. Of a pipeline, all commands
// are executed.
func (p *Proxy) DropReply(k int, commands ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop = newPick(k, commands)
}

// DropReplyEvery loses every n-th reply to a script from now on, as DropReply does; 0
// ends it.
func (p *Proxy) DropReplyEvery(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropEvery, p.sinceEvery = n, 0
}

// SwallowRequest loses the k-th request from now that runs a script, or one of the
// commands named: it never reaches the server, and the connection is closed once all
// earlier requests are answered. 1 is the next one, 0 calls it off. A script that is sent
// twice, because the server does not know it yet, is two requests.
func (p *Proxy) SwallowRequest(k int, commands ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = newPick(k, commands)
}

// DelayReplies gives every reply at least the age d, counted from its request; requests
// are not held back. 0 ends it.
func (p *Proxy) DelayReplies(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// BlackHole makes all connections, old and new, silent: what arrives from either side is
// read and thrown away. When it is switched off, connections on which something was lost
// are reset.
func (p *Proxy) BlackHole(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blackHole = on
	if !on {
		p.resetLocked(func(c *proxyConn) bool { return c.lossy })
	}
}

// Refuse makes the proxy look like a server that is gone: connections are reset and new
// ones refused, until it is switched off and listens again.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.listener != nil:
		p.listener.Close()
		p.listener = nil
		p.resetLocked(nil)
	case !on && p.listener == nil && !p.closed:
		if err := p.listenLocked(); err != nil {
			p.tb.Errorf("redistest: proxy cannot listen again: %v", err)
		}
	}
}

// Reset cuts all connections with a TCP reset. New ones are accepted.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resetLocked(nil)
}

// Heal ends all faults.
func (p *Proxy) Heal() {
	p.DropReply(0)
	p.DropReplyEvery(0)
	p.SwallowRequest(0)
	p.DelayReplies(0)
	p.BlackHole(false)
	p.Refuse(false)
}

func (p *Proxy) resetLocked(which func(*proxyConn) bool) {
	for c := range p.conns {
		if which == nil || which(c) {
			c.reset()
		}
	}
}

func (p *Proxy) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listenLocked()
}

func (p *Proxy) listenLocked() error {
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return err
	}
	p.listener = l
	p.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.admit(l, client)
		}
	})
	return nil
}

func (p *Proxy) admit(l net.Listener, client net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &proxyConn{p: p, client: client, done: make(chan struct{})}
	if p.listener != l {
		// Accepted before Refuse, but too late to be reset by it.
		c.reset()
		return
	}
	p.conns[c] = struct{}{}
	p.traffic.Conns++
	p.wg.Go(c.readRequests)
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.resetLocked(nil)
	p.mu.Unlock()
	p.wg.Wait()
}
