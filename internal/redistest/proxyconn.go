package redistest

import (
	"bufio"
	"bytes"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// readSize holds any pipeline that a client sends in one piece.
const readSize = 1 << 18

// proxyConn is one connection of a client and the one to the server that belongs to it.
// One goroutine moves requests, another replies. Where both locks are needed, p.mu is
// taken first.
type proxyConn struct {
	p      *Proxy
	client net.Conn
	done   chan struct{} // closed by shut

	mu     sync.Mutex // guards the fields below
	closed bool
	server net.Conn // nil until the first request is delivered

	// Guarded by p.mu.
	waiting []request // delivered and not answered yet
	asking  bool      // the last word was the client's
	lossy   bool      // a black hole swallowed something, so requests and replies no longer match
	last    bool      // a request was swallowed: close when nothing is waiting
}

type request struct {
	name string // lower case
	raw  []byte
	at   time.Time
}

// shut ends both directions; the client reads EOF.
func (c *proxyConn) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	close(c.done)
	c.client.Close()
	if c.server != nil {
		c.server.Close()
	}
}

// reset ends both directions; the client reads "connection reset by peer".
func (c *proxyConn) reset() {
	if tcp, ok := c.client.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.shut()
}

func (c *proxyConn) readRequests() {
	defer c.p.forget(c)
	defer c.shut()
	r := bufio.NewReaderSize(c.client, readSize)
	for {
		// What arrives together is passed on together. One by one, the server could
		// answer the first request before the second is looked at, and a pipeline would
		// count as several round trips.
		var batch []request
		for len(batch) == 0 || r.Buffered() > 0 {
			raw, words, err := readRequest(r)
			if err != nil {
				return
			}
			if len(words) > 0 {
				batch = append(batch, request{name: strings.ToLower(words[0]), raw: raw, at: time.Now()})
			}
		}
		deliver, end := c.p.onRequests(c, batch)
		if len(deliver) > 0 && !c.send(deliver) {
			return
		}
		if end {
			<-c.done
			return
		}
	}
}

// send delivers requests and reports whether the server took them. The first call
// connects.
func (c *proxyConn) send(raw []byte) bool {
	c.mu.Lock()
	server := c.server
	c.mu.Unlock()
	if server == nil {
		var err error
		if server, err = net.DialTimeout("tcp", c.p.upstream, time.Second); err != nil {
			return false
		}
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			server.Close()
			return false
		}
		c.server = server
		c.mu.Unlock()
		c.p.wg.Go(func() { c.readReplies(server) })
	}
	_, err := server.Write(raw)
	return err == nil
}

func (c *proxyConn) readReplies(server net.Conn) {
	defer c.shut()
	r := bufio.NewReaderSize(server, readSize)
	for {
		raw, err := readReply(r)
		if err != nil {
			return
		}
		answered, due := c.p.match(c, raw)
		if wait := time.Until(due); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-c.done:
				timer.Stop()
				return
			}
		}
		switch c.p.onReply(c, answered, raw) {
		case discard:
			continue
		case cut:
			return
		}
		if _, err := c.client.Write(raw); err != nil || c.p.finished(c) {
			return
		}
	}
}

// onRequests counts a client's requests and returns those that the server shall get.
// After end the proxy reads no more requests.
func (p *Proxy) onRequests(c *proxyConn, batch []request) (deliver []byte, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.asking {
		c.asking = true
		p.traffic.RoundTrips++
	}
	for _, req := range batch {
		p.traffic.Commands[req.name]++
		p.traffic.Sent += int64(len(req.raw))
	}
	if p.blackHole {
		c.lossy = true
		return nil, false
	}
	for _, req := range batch {
		if p.swallow.hits(req.name) {
			c.last = true
			if len(c.waiting) == 0 {
				c.shut()
			}
			return deliver, true
		}
		deliver = append(deliver, req.raw...)
		if !strings.HasSuffix(req.name, "subscribe") {
			// The many answers to a subscription are pushes, or in RESP2 look like them.
			c.waiting = append(c.waiting, req)
		}
	}
	return deliver, false
}

// match finds the request that a reply answers, nil for a push, and the time before which
// it may not go on.
func (p *Proxy) match(c *proxyConn, raw []byte) (answered *request, due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if raw[0] == '>' || len(c.waiting) == 0 {
		return nil, time.Time{}
	}
	req := c.waiting[0]
	c.waiting = c.waiting[1:]
	return &req, req.at.Add(p.delay)
}

type verdict int

const (
	pass verdict = iota
	discard
	cut
)

// onReply decides whether a reply goes on, and counts it if so.
func (p *Proxy) onReply(c *proxyConn, answered *request, raw []byte) verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blackHole {
		c.lossy = true
		return discard
	}
	if answered != nil {
		if ran(raw) && p.losesReply(answered.name) {
			return cut
		}
		c.asking = false
	}
	p.traffic.Received += int64(len(raw))
	return pass
}

// ran reports whether a reply shows that its command was executed.
func ran(raw []byte) bool {
	return !bytes.HasPrefix(raw, []byte("-NOSCRIPT")) && !bytes.Equal(raw, []byte("+QUEUED\r\n"))
}

func (p *Proxy) losesReply(name string) bool {
	lost := p.drop.hits(name)
	if p.dropEvery > 0 && slices.Contains(scripts, name) {
		if p.sinceEvery++; p.sinceEvery == p.dropEvery {
			p.sinceEvery = 0
			lost = true
		}
	}
	return lost
}

// finished reports whether the server has answered all requests that came before a
// swallowed one.
func (p *Proxy) finished(c *proxyConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.last && len(c.waiting) == 0
}

func (p *Proxy) forget(c *proxyConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

var scripts = []string{"eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro"}

// pick waits for the n-th command of some names.
type pick struct {
	left  int
	names []string
}

func newPick(k int, names []string) pick {
	p := pick{left: k, names: scripts}
	if len(names) > 0 {
		p.names = nil
	}
	for _, name := range names {
		p.names = append(p.names, strings.ToLower(name))
	}
	return p
}

// hits counts down, and reports whether this is the one.
func (p *pick) hits(name string) bool {
	if p.left <= 0 || !slices.Contains(p.names, name) {
		return false
	}
	p.left--
	return p.left == 0
}
