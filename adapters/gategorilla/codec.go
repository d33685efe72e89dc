package gategorilla

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
)

// A Codec makes bytes of a session's values. Many goroutines use it at once. Its errors
// may name keys, but no values.
type Codec interface {
	// Encode returns the values as bytes.
	Encode(values map[any]any) ([]byte, error)
	// Decode adds the values of Encode's bytes to a map.
	Decode(data []byte, values map[any]any) error
}

// Gob is encoding/gob, as in the stores of gorilla. Keys and values have any type; the
// program registers types other than Go's own with gob.Register. Save returns an error
// that names the key of a value whose type is not registered.
type Gob struct{}

// Encode is [Codec.Encode].
func (Gob) Encode(values map[any]any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(values)
	if err == nil {
		return b.Bytes(), nil
	}
	for key, value := range values { // which one is it?
		if one := gob.NewEncoder(&bytes.Buffer{}).Encode(map[any]any{key: value}); one != nil {
			return nil, fmt.Errorf("value %v of type %T: %w", key, value, one)
		}
	}
	return nil, err
}

// Decode is [Codec.Decode].
func (Gob) Decode(data []byte, values map[any]any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(&values)
}

// JSON is encoding/json, which programs in other languages can read too. Keys must be
// strings. Values come back as JSON knows them: numbers as float64, structs as
// map[string]any.
type JSON struct{}

// Encode is [Codec.Encode].
func (JSON) Encode(values map[any]any) ([]byte, error) {
	object := make(map[string]any, len(values))
	for key, value := range values {
		name, ok := key.(string)
		if !ok {
			return nil, fmt.Errorf("key %v of type %T: JSON has keys of type string only", key, key)
		}
		object[name] = value
	}
	return json.Marshal(object)
}

// Decode is [Codec.Decode].
func (JSON) Decode(data []byte, values map[any]any) error {
	object := map[string]any{}
	if err := json.Unmarshal(data, &object); err != nil {
		return err
	}
	for name, value := range object {
		values[name] = value
	}
	return nil
}
