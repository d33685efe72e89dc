package store

import (
	"context"
	"math/rand/v2"
	"time"
)

// repeat calls send until it succeeds or [Store.judge] ends it.
func (s *Store) repeat(c *run, send func() error) error {
	defer c.end(context.Canceled)
	for {
		c.state.Store(waiting)
		if again, err := s.judge(c, send(), true); !again {
			return err
		}
	}
}

// attempts is how often a script is sent that got no answer and proved not to run, or may
// run twice: enough to ride out a dropped connection. A Redis that is down is not waited
// for; the caller's fail mode decides at once. One that answers that it cannot now
// (NOSCRIPT, LOADING, READONLY, TRYAGAIN, ...) is there, and is asked until the deadline,
// or once, if it just let another call wait in vain: see [unserving].
const attempts = 3

// judge says whether to send the script again, after a pause if one is due and wanted,
// and what to report otherwise.
func (s *Store) judge(c *run, err error, pause bool) (again bool, _ error) {
	if err == nil {
		return false, nil
	}
	c.sends++
	what := classify(err)
	if what == unknown && c.script.src != nil && c.drop() {
		what = notSent
	}
	switch what {
	case noScript:
		if !c.text {
			c.byText()
			again = time.Now().Before(c.at)
		} else { // a proxy, or a server that is replaced right now
			again = c.wait(pause)
		}
	case notNow:
		again = c.wait(pause)
	case notServing:
		again = s.waitUntilServed(c, pause)
	case notSent, unknown:
		c.lost++
		s.note(c, err)
		again = c.lost < attempts && (what == notSent || c.script.retry != unsafe) && c.wait(pause && what == notSent)
	}
	if again {
		c.from = time.Now()
		return true, nil
	}
	return false, c.failure(what, err)
}

// note learns from a call that got no answer: the next ones get their connections ready,
// and a cluster's map is read again where a node is gone. Without that the client asks
// the dead node for up to a minute.
//
// A command that was written is no proof of a connection that was ready: where setting it
// up left time to write and none to read, each call would throw its connection away for
// ever. Only what a caller cut short says nothing.
func (s *Store) note(c *run, err error) {
	if isTimeout(err) && (c.state.Load() != written || !c.hurried) {
		s.ready.note()
	}
	if s.reload != nil && isDial(err) {
		s.reload(context.WithoutCancel(c))
	}
}

// wait sleeps before the next send, 1 to 2 ms after the first, doubled each time to 64
// ms, not at all without pause, and reports whether there is time left for another send,
// and for an answer as late as the last one: cut off by the deadline, a call that was
// told that nothing ran would end in doubt.
func (c *run) wait(pause bool) bool {
	d := time.Duration(0)
	if pause {
		d = time.Millisecond << min(c.sends-1, 5)
		d += rand.N(d)
	}
	if time.Until(c.at) <= d+time.Since(c.from) {
		return false
	}
	time.Sleep(d)
	return true
}
