package session

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/gatekit/gatekit/internal/errtext"
)

type change uint8

const (
	unchanged change = iota
	set
	deleted
	added
)

// field is a value that differs from the snapshot: this request learned that Redis has
// another value by now, or a change of the value is pending.
type field struct {
	name  string
	known bool   // has and value count in place of the snapshot
	has   bool   // Redis has the value at all
	value []byte // what Redis has

	change change
	data   []byte // of set
	delta  int64  // of added
}

// changes are the values of a request that differ from the snapshot, each name once. The
// zero value has no entries.
type changes struct {
	list  []field
	index map[string]int // name to place in the list, once the list has more than fewFields

	size   int  // of all values that the handler sees, names included
	sized  bool // size is right
	looked int  // entries and values looked at, for the test that bounds them
}

const fewFields = 8

// find returns the entry of a name, or nil. The caller must not change its size;
// entryLocked is for that.
func (c *changes) find(name string) *field {
	if c.index != nil {
		c.looked++
		if i, ok := c.index[name]; ok {
			return &c.list[i]
		}
		return nil
	}
	for i := range c.list {
		c.looked++
		if c.list[i].name == name {
			return &c.list[i]
		}
	}
	return nil
}

// entry returns the entry of a name, and adds one if there is none. The pointer is valid
// until the next call.
func (c *changes) entry(name string) *field {
	if f := c.find(name); f != nil {
		return f
	}
	c.list = append(c.list, field{name: name})
	last := len(c.list) - 1
	switch {
	case c.index != nil:
		c.index[name] = last
	case last == fewFields:
		c.index = make(map[string]int, 4*fewFields)
		for i := range c.list {
			c.index[c.list[i].name] = i
		}
	}
	return &c.list[last]
}

// forget drops what the request learned of stored values; the pending changes stay.
func (c *changes) forget() {
	c.sized = false
	for i := range c.list {
		c.list[i].known, c.list[i].value = false, nil
	}
}

// discard drops the pending changes.
func (c *changes) discard() {
	c.sized = false
	for i := range c.list {
		f := &c.list[i]
		f.change, f.data, f.delta = unchanged, nil, 0
	}
}

const (
	flashPrefix   = "_f"
	lifetimeField = "_r"
)

// fieldLocked returns the entry of a name, or nil. The caller must only read it.
func (s *Session) fieldLocked(name string) *field { return s.changes.find(name) }

// entryLocked returns the entry of a name for changes, and adds one if there is none. The
// pointer is valid until the next call.
func (s *Session) entryLocked(name string) *field {
	s.changes.sized = false
	return s.changes.entry(name)
}

// changeLocked changes the entry of a name, and keeps the sum of the sizes right.
func (s *Session) changeLocked(name string, change func(*field)) {
	before := s.sizeLocked(name)
	change(s.changes.entry(name))
	s.changes.size += s.sizeLocked(name) - before
}

// storedLocked returns the value that Redis has, as far as this request knows.
func (s *Session) storedLocked(name string) ([]byte, bool) {
	if f := s.fieldLocked(name); f != nil && f.known {
		return f.value, f.has
	}
	if s.state != loaded {
		return nil, false
	}
	return s.record.Value(name)
}

// currentLocked returns the value that the handler sees: the stored one with the
// request's own changes.
func (s *Session) currentLocked(name string) (data []byte, ok bool, err error) {
	f := s.fieldLocked(name)
	if f == nil {
		data, ok = s.storedLocked(name)
		return data, ok, nil
	}
	switch f.change {
	case set:
		return f.data, true, nil
	case deleted:
		return nil, false, nil
	case added:
		n, err := s.storedNumberLocked(name)
		if err != nil {
			return nil, false, err
		}
		return strconv.AppendInt(nil, n+f.delta, 10), true, nil
	}
	data, ok = s.storedLocked(name)
	return data, ok, nil
}

func (s *Session) storedNumberLocked(name string) (int64, error) {
	data, ok := s.storedLocked(name)
	if !ok {
		return 0, nil
	}
	return parseNumber(name, data)
}

func parseNumber(name string, data []byte) (int64, error) {
	n, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil || n > maxCount || n < -maxCount {
		return 0, errtext.Errorf("session", "counter %q: %w", name, errCounter)
	}
	return n, nil
}

const maxCount = 1 << 53 // Lua numbers are exact up to this

// learnLocked notes the value that Redis has now, and drops a pending change.
func (s *Session) learnLocked(name string, value []byte, has bool) {
	s.changeLocked(name, func(f *field) { *f = field{name: name, known: true, has: has, value: value} })
}

// setLocked makes data the pending value of the name, if the session has room.
func (s *Session) setLocked(name string, data []byte) error {
	if err := s.roomLocked(name, len(data)); err != nil {
		return err
	}
	s.changeLocked(name, func(f *field) { f.change, f.data, f.delta = set, data, 0 })
	return nil
}

// deleteLocked drops the value of the name.
func (s *Session) deleteLocked(name string) {
	_, stored := s.storedLocked(name)
	s.changeLocked(name, func(f *field) {
		f.change, f.data, f.delta = unchanged, nil, 0
		if stored {
			f.change = deleted
		}
	})
}

// roomLocked refuses a value of n bytes that would make the session too large. It counts
// the snapshot and this request's changes, but not values that other requests add at the
// same time.
func (s *Session) roomLocked(name string, n int) error {
	if !s.changes.sized {
		s.changes.size = 0
		for _, other := range s.namesLocked() {
			s.changes.size += s.sizeLocked(other)
		}
		s.changes.sized = true
	}
	size := s.changes.size - s.sizeLocked(name) + len(name) + n
	if size > s.m.cfg.MaxBytes {
		s.lost = errtext.Errorf("session", "value %q of %d bytes, session of %d, at most %d: %w", name, n, size, s.m.cfg.MaxBytes, ErrTooLarge)
		return s.lost
	}
	return nil
}

// sizeLocked returns the size of the name and the value that the handler sees, in bytes;
// 0 if there is no value.
func (s *Session) sizeLocked(name string) int {
	s.changes.looked++
	if f := s.fieldLocked(name); f != nil && f.change == added {
		return len(name) + 20 // the longest integer
	}
	data, ok, _ := s.currentLocked(name)
	if !ok {
		return 0
	}
	return len(name) + len(data)
}

// namesLocked lists the values that the handler sees.
func (s *Session) namesLocked() (names []string) {
	if s.state == loaded {
		for name := range s.record.Values() {
			s.changes.looked++
			if s.fieldLocked(name) == nil {
				names = append(names, name)
			}
		}
	}
	for i := range s.changes.list {
		s.changes.looked++
		f := &s.changes.list[i]
		if f.change == set || f.change == added || f.change == unchanged && s.hasLocked(f.name) {
			names = append(names, f.name)
		}
	}
	return names
}

func (s *Session) hasLocked(name string) bool {
	_, ok := s.storedLocked(name)
	return ok
}

// dirtyLocked reports whether changes are pending.
func (s *Session) dirtyLocked() bool {
	for i := range s.changes.list {
		if s.changes.list[i].change != unchanged {
			return true
		}
	}
	return false
}

// discardLocked drops the pending changes.
func (s *Session) discardLocked() { s.changes.discard() }

// Clear deletes every value that the request knows of. The session and the login stay.
// The deletion is written like other changes, see [Session].
func (s *Session) Clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writableLocked(); err != nil {
		return err
	}
	if len(s.updating) > 0 {
		return s.freeLocked(s.updating[0])
	}
	for _, name := range s.namesLocked() {
		if name != lifetimeField {
			s.deleteLocked(name)
		}
	}
	return nil
}

// storesLocked reports whether an operation on the value has to ask Redis: the session is
// stored, and no change of the value is pending.
func (s *Session) storesLocked(name string) bool {
	f := s.fieldLocked(name)
	return s.state == loaded && (f == nil || f.change == unchanged)
}

// freeLocked refuses a change of a value that an Update of this request is changing.
func (s *Session) freeLocked(name string) error {
	if slices.Contains(s.updating, name) {
		return fmt.Errorf("session: value %q: this request is in an Update of it, which must not change it by another way", name)
	}
	return nil
}

// changeableLocked returns why a change of the value by the commit is refused, or nil.
func (s *Session) changeableLocked(name string) error {
	if err := s.writableLocked(); err != nil {
		return err
	}
	return s.freeLocked(name)
}
