package store

import (
	"context"
	"math/rand/v2"
	"time"
)

// repeat calls send until it succeeds or [Store.judge] says to stop.
func (s *Store) repeat(c *run, send func() error) error {
	defer c.end(context.Canceled)
	for {
		c.state.Store(waiting)
		if again, err := s.judge(c, send(), true); !again {
			return err
		}
	}
}

// attempts is how often a script is sent that gets no answer, if it did not run or may
// run twice. 3 is enough to survive a dropped connection. The store does not wait for a
// Redis that is down, so that the caller's fail mode decides at once. A Redis that
// answers that it cannot serve now (NOSCRIPT, LOADING, READONLY, TRYAGAIN, ...) is up.
// The store asks it until the deadline, or only once if it has just let another call wait
// in vain: see [unserving].
const attempts = 3

// judge reports whether to send the script again. If so, it has slept first, where a
// pause is due and pause is set. If not, it returns the error to report, nil after a
// success.
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
		} else { // a proxy, or a server that is just being replaced
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

// note draws conclusions from a call that got no answer. After a time-out, the next calls
// may set their connections up in the background. After a failed dial, the client reads a
// cluster's map again; otherwise it would ask a dead node for up to a minute.
//
// A written command does not prove that the connection was ready early enough. If setting
// it up left time to write and none to read, each call would throw its connection away,
// for ever. So only a written command whose caller had less time than the budget does not
// count.
func (s *Store) note(c *run, err error) {
	if isTimeout(err) && (c.state.Load() != written || !c.hurried) {
		s.ready.note()
	}
	if s.reload != nil && isDial(err) {
		s.reload(context.WithoutCancel(c))
	}
}

// wait sleeps before the next send: 1 to 2 ms after the first, doubled each time up to 64
// ms, and 0 if pause is false. It reports whether there is time for another send and for
// an answer that takes as long as the last one. Without that time it does not sleep: if
// the deadline cut the next send off, a call of which we know that nothing ran would get
// an unknown outcome.
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
