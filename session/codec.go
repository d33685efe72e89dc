package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/gatekit/gatekit/internal/errtext"
)

// A Codec turns values into bytes and back. It is called by many goroutines at once, and
// no lock is held meanwhile. [Options.Codec] nil is JSON, which refuses what it could not
// give back as it was: strings that are not UTF-8, and integers that an any could only
// hold rounded.
//
// Bytes that other versions of a program wrote are read by this one's codec, so change a
// format in two steps: first read both, then write the new one.
type Codec interface {
	// Encode returns the bytes of what v points to: a pointer, so that the methods of
	// pointers count. The caller owns them.
	Encode(v any) ([]byte, error)

	// Decode reads data into v, a pointer. It must not keep data. What it can't read is
	// an error, never a zero value.
	Decode(data []byte, v any) error
}

type jsonCodec struct{}

// Encode refuses what Decode would not give back: encoding/json alone replaces and rounds
// silently.
func (jsonCodec) Encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if replaced(data) {
		return nil, errNotUTF8
	}
	return data, exact(reflect.ValueOf(v).Elem(), false)
}

var errNotUTF8 = errors.New("a string is not UTF-8, which JSON can't hold: store it as []byte")

// replaced reports whether encoding/json put U+FFFD in place of a byte that is not UTF-8:
// it writes that one as an escape, and one that is in the string as itself.
func replaced(data []byte) bool {
	for rest := data; ; {
		i := bytes.Index(rest, []byte(`\ufffd`))
		if i < 0 {
			return false
		}
		before := bytes.TrimRight(rest[:i], `\`)
		if (i-len(before))%2 == 0 {
			return true
		}
		rest = rest[i+len(`\ufffd`):]
	}
}

// Decode reads the types that most values have without the machinery of encoding/json.
func (jsonCodec) Decode(data []byte, v any) error {
	if s, ok := v.(*string); ok && plainString(data) {
		*s = string(data[1 : len(data)-1])
		return nil
	}
	return json.Unmarshal(data, v)
}

// plainString reports whether data is a JSON string that stands for itself: printable
// ASCII without escapes.
func plainString(data []byte) bool {
	if len(data) < 2 || data[0] != '"' || data[len(data)-1] != '"' {
		return false
	}
	for _, c := range data[1 : len(data)-1] {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// values is how a manager stores values: a codec and, under [Encrypt], a seal.
type values struct {
	codec  Codec
	sealer *sealer
}

func newValues(c Codec) values {
	switch c := c.(type) {
	case nil:
		return values{codec: jsonCodec{}}
	case *sealer:
		return values{codec: c.Codec, sealer: c}
	}
	return values{codec: c}
}

// plain returns the bytes of what v points to, not sealed yet. It calls functions of the
// program.
func (vs values) plain(name string, v any) ([]byte, error) {
	data, err := vs.codec.Encode(v)
	if err != nil {
		return nil, &codecError{"encode", name, err}
	}
	return data, nil
}

// seal makes of the plain bytes of a value what is stored.
func (vs values) seal(member, name string, plain []byte) []byte {
	if vs.sealer == nil {
		return plain
	}
	return vs.sealer.seal(member, name, plain)
}

// encode is plain and seal for a value of a type that is not known when the program is
// built.
func (vs values) encode(member, name string, v any) ([]byte, error) {
	to := reflect.ValueOf(&v)
	if v != nil {
		to = reflect.New(reflect.TypeOf(v))
		to.Elem().Set(reflect.ValueOf(v))
	}
	data, err := vs.plain(name, to.Interface())
	if err != nil {
		return nil, err
	}
	return vs.seal(member, name, data), nil
}

func (vs values) decode(member, name string, data []byte, v any) error {
	if vs.sealer != nil {
		plain, err := vs.sealer.open(member, name, data)
		if err != nil {
			return errtext.Errorf("session", "decode %q: %w", name, err)
		}
		data = plain
	}
	if err := vs.codec.Decode(data, v); err != nil {
		return &codecError{"decode", name, err}
	}
	return nil
}

// move returns the bytes of a value for another session.
func (vs values) move(from, to, name string, data []byte) ([]byte, error) {
	if vs.sealer == nil || from == to {
		return bytes.Clone(data), nil
	}
	plain, err := vs.sealer.open(from, name, data)
	if err != nil {
		return nil, errtext.Errorf("session", "move %q: %w", name, err)
	}
	return vs.sealer.seal(to, name, plain), nil
}

// codecError is the error of a codec. Its text does not have the codec's, because those
// quote what they could not read, and that may be a secret; programs get it by
// [errors.As].
type codecError struct {
	doing, name string
	cause       error
}

func (e *codecError) Unwrap() error { return e.cause }

func (e *codecError) Error() string {
	why := fmt.Sprintf("%T", e.cause)
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	var unsupported *json.UnsupportedTypeError
	switch {
	case errors.Is(e.cause, errNotUTF8), errors.Is(e.cause, errRounds), errors.Is(e.cause, errNoPlace):
		why = e.cause.Error()
	case errors.As(e.cause, &wrong):
		why = fmt.Sprintf("JSON at byte %d does not fit into %v", wrong.Offset, wrong.Type)
		if wrong.Field != "" {
			why += " of field " + wrong.Struct + "." + wrong.Field
		}
	case errors.As(e.cause, &syntax):
		why = fmt.Sprintf("no JSON from byte %d on", syntax.Offset)
	case errors.As(e.cause, &unsupported):
		why = e.cause.Error()
	}
	return fmt.Sprintf("session: %s %q: %s", e.doing, e.name, why)
}
