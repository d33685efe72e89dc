package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/gatekit/gatekit/internal/errtext"
)

// A Codec turns values into bytes and back. Many goroutines call it at once, and the kit
// holds no lock during a call. If [Options.Codec] is nil, the codec is JSON. It refuses
// values that it could not decode to the same value: strings that are not UTF-8, and
// integers that would come back rounded in an any.
//
// The codec also reads bytes that other versions of the program wrote. So change a format
// in two steps: first read both formats, then write the new one.
type Codec interface {
	// Encode returns the bytes of the value that v points to. v is a pointer, so that
	// methods of pointers are found. The caller owns the bytes.
	Encode(v any) ([]byte, error)

	// Decode reads data into the value that v points to. It must not keep data. For data
	// that it can't read it returns an error, never a zero value.
	Decode(data []byte, v any) error
}

type jsonCodec struct{}

// Encode refuses values that Decode would change: encoding/json alone replaces bytes and
// rounds integers silently.
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

// replaced reports whether encoding/json replaced a byte that is not UTF-8 by U+FFFD. It
// writes such a U+FFFD as an escape, and one of the string itself as it is.
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

// Decode reads plain strings without encoding/json, which is faster.
func (jsonCodec) Decode(data []byte, v any) error {
	if s, ok := v.(*string); ok && plainString(data) {
		*s = string(data[1 : len(data)-1])
		return nil
	}
	return json.Unmarshal(data, v)
}

// plainString reports whether data is a JSON string of printable ASCII without escapes.
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

// values encodes and decodes a manager's values: by a codec and, under [Encrypt], a
// sealer.
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

// plain returns the bytes of the value that v points to, not sealed yet. It calls
// functions of the program.
func (vs values) plain(name string, v any) ([]byte, error) {
	data, err := vs.codec.Encode(v)
	if err != nil {
		return nil, &codecError{"encode", name, err}
	}
	return data, nil
}

// seal turns the plain bytes of a value into the bytes that are stored.
func (vs values) seal(member, name string, plain []byte) []byte {
	if vs.sealer == nil {
		return plain
	}
	return vs.sealer.seal(member, name, plain)
}

// encode does plain and seal for a value whose type is known only at run time.
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

// move returns the stored bytes of a value, sealed for another session.
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

// codecError is the error of a codec. Its text leaves out the codec's text, because
// codecs quote bytes that they could not read, and those may be secret. Programs get the
// codec's error by [errors.As].
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
