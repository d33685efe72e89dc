// Package given refuses nil managers, limiters and blobs, with one text for all adapters.
package given

import (
	"fmt"
	"reflect"
)

// Check returns an error that names the type of p if p is nil. A program that ignores the
// error of a constructor has such a nil. Without Check each of its requests would panic.
func Check[T any](p *T) error {
	if p == nil {
		return fmt.Errorf("gatekit: the %T is nil: make it first, and look at the error", p)
	}
	return nil
}

// Must panics with the error of [Check], for constructors that return no error.
func Must[T any](p *T) {
	if err := Check(p); err != nil {
		panic(err)
	}
}

// Option returns an error that names the field of the options if v is a nil pointer or
// function in an interface. Code that compares the interface with nil would take it for a
// value.
func Option(field string, v any) error {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Func:
		if r.IsNil() {
			return fmt.Errorf("%s: the %T is nil: make it first, and look at the error, or leave the field out", field, v)
		}
	}
	return nil
}
