package session

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"sync"
)

var errRounds = errors.New("an integer beyond 2^53 in an any would come back rounded: give it a type, or store it as a string")

// exact refuses integers that would come back rounded: JSON decodes a number in an any as
// a float64. loose means that v lies in an any. Values of types without an any are not
// looked at.
func exact(v reflect.Value, loose bool) error {
	if !v.IsValid() || !loose && !holdsAny(v.Type()) {
		return nil
	}
	if own := ownJSON(v); own != nil {
		if !loose {
			return nil // the type's own method reads it back
		}
		data, err := json.Marshal(own)
		if err != nil {
			return err
		}
		return exactText(data)
	}
	switch v.Kind() {
	case reflect.Interface:
		return exact(v.Elem(), true)
	case reflect.Pointer:
		return exact(v.Elem(), loose)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return exactInt(big.NewInt(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return exactInt(new(big.Int).SetUint64(v.Uint()))
	case reflect.String:
		if loose && v.Type() == reflect.TypeFor[json.Number]() {
			return exactNumber(json.Number(v.String()))
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := exact(v.Index(i), loose); err != nil {
				return err
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if err := exact(it.Value(), loose); err != nil {
				return err
			}
		}
	case reflect.Struct:
		return exactFields(v, loose)
	}
	return nil
}

func exactFields(v reflect.Value, loose bool) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() && !f.Anonymous || tag == "-" && options == "" || strings.Contains(options, "string") {
			continue
		}
		if err := exact(v.Field(i), loose); err != nil {
			return err
		}
	}
	return nil
}

// exactText checks the integers in JSON that a type's own method made.
func exactText(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			return nil
		}
		if n, ok := token.(json.Number); ok {
			if err := exactNumber(n); err != nil {
				return err
			}
		}
	}
}

func exactNumber(n json.Number) error {
	i, ok := new(big.Int).SetString(n.String(), 10)
	if !ok {
		return nil // fractions may be rounded
	}
	return exactInt(i)
}

func exactInt(i *big.Int) error {
	if i.BitLen() <= 53 {
		return nil
	}
	f, _ := new(big.Float).SetInt(i).Float64()
	if back, accuracy := big.NewFloat(f).Int(nil); accuracy != big.Exact || back.Cmp(i) != 0 {
		return errRounds
	}
	return nil
}

var (
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// ownJSON returns the value, or a pointer to it, if its type has its own method for JSON,
// else nil.
func ownJSON(v reflect.Value) any {
	if v.Kind() == reflect.Interface || !v.CanInterface() {
		return nil
	}
	if t := v.Type(); t.Implements(marshaler) || t.Implements(textMarshaler) {
		return v.Interface()
	}
	if t := reflect.PointerTo(v.Type()); v.CanAddr() && (t.Implements(marshaler) || t.Implements(textMarshaler)) {
		return v.Addr().Interface()
	}
	return nil
}

var anyTypes sync.Map // reflect.Type -> whether values of it may hold an any

func holdsAny(t reflect.Type) bool {
	if known, ok := anyTypes.Load(t); ok {
		return known.(bool)
	}
	holds := findAny(t, map[reflect.Type]bool{})
	anyTypes.Store(t, holds)
	return holds
}

func findAny(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return findAny(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if findAny(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}
