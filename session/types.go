package session

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
)

// types are the types that a manager's values are used with. Two keys of one name would
// read each other's bytes: some decode as the other type, and the next Set destroys what
// was there.
type types struct {
	known atomic.Pointer[map[string]reflect.Type] // never changed, only replaced
	mu    sync.Mutex                              // held while replacing
}

// maxTypes bounds the names, which a program may make of what clients send. Those beyond
// are not checked.
const maxTypes = 1024

// check notes the type of a name when it is used first, and refuses another one.
func (ts *types) check(name string, t reflect.Type) error {
	if was, ok := ts.get(name); ok {
		return sameType(name, was, t)
	}
	if strings.HasPrefix(name, flashPrefix) { // endless, and of one type
		return nil
	}
	return sameType(name, ts.note(name, t), t)
}

func (ts *types) get(name string) (reflect.Type, bool) {
	known := ts.known.Load()
	if known == nil {
		return nil, false
	}
	t, ok := (*known)[name]
	return t, ok
}

// note returns the type that the name has now.
func (ts *types) note(name string, t reflect.Type) reflect.Type {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if was, ok := ts.get(name); ok {
		return was
	}
	next := map[string]reflect.Type{}
	if known := ts.known.Load(); known != nil {
		if len(*known) >= maxTypes {
			return t
		}
		next = maps.Clone(*known)
	}
	next[name] = t
	ts.known.Store(&next)
	return t
}

func sameType(name string, was, is reflect.Type) error {
	if was == is {
		return nil
	}
	return fmt.Errorf("session: value %q is used as %v and as %v: make one key for it, or give one of them another name", name, was, is)
}

// use refuses a look at the value if nothing is known about the session, or if another
// type has the name.
func (k Key[T]) use(s *Session) error {
	return s.use(k.name, reflect.TypeFor[T]())
}

// change is use for a change.
func (k Key[T]) change(s *Session) error {
	return s.change(k.name, reflect.TypeFor[T]())
}

func (s *Session) use(name string, t reflect.Type) error {
	if err := s.unknown(); err != nil {
		return err
	}
	return s.m.types.check(name, t)
}

func (s *Session) change(name string, t reflect.Type) error {
	if err := s.wanted(); err != nil {
		return err
	}
	return s.lose(s.m.types.check(name, t))
}

// lose notes why a change is refused, for the log: the program is wrong, and a handler
// may not look at the error.
func (s *Session) lose(err error) error {
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lost = err
	}
	return err
}
