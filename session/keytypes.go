package session

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
)

// types notes the type that each value of a manager is used with. Two keys of one name
// and different types would read each other's bytes. Some bytes decode as the other type
// too, and the next Set would destroy the value.
type types struct {
	known atomic.Pointer[map[string]reflect.Type] // never changed, only replaced
	mu    sync.Mutex                              // held while replacing
}

// maxTypes limits how many names are noted, because a program may make names from
// requests. Further names are not checked.
const maxTypes = 1024

// check notes the type of a name at its first use, and refuses another type later.
func (ts *types) check(name string, t reflect.Type) error {
	if was, ok := ts.get(name); ok {
		return sameType(name, was, t)
	}
	if strings.HasPrefix(name, flashPrefix) { // messages: many names, all of one type
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

// note notes the type of a name, unless it has one, and returns the one it has.
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
