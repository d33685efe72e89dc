package store

import (
	"sync"
	"time"
)

// unserving remembers the servers that answered a call for all of its budget that they
// cannot serve now: they are loading their data, or are replicas that are not promoted
// yet. Otherwise each call to such a server would take its whole budget, as long as that
// goes on.
type unserving struct {
	keep time.Duration // how long a server is remembered

	mu   sync.Mutex           // guards last
	last map[string]time.Time // by server: when it last said so to a call that then gave up
}

// unservingFor is for how long after such a call other calls give up at the first answer
// of that kind. Each of them renews the time, so under load only the first calls wait.
const unservingFor = 500 * time.Millisecond

func (u *unserving) recently(node string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	at, ok := u.last[node]
	return ok && time.Since(at) < u.keep
}

func (u *unserving) note(node string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		u.last = map[string]time.Time{}
	}
	u.last[node] = time.Now()
}

// waitUntilServed is [run.wait] after an answer that the server gives to all calls.
func (s *Store) waitUntilServed(c *run, pause bool) bool {
	node := s.node(c.names[0])
	known := s.unserving.recently(node)
	if !known && c.wait(pause) {
		return true
	}
	if known || !c.hurried { // a hurried call did not wait for long
		s.unserving.note(node)
	}
	return false
}
