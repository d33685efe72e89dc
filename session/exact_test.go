package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// masked hides its text from JSON, by a method of the pointer.
type masked struct{ Secret string }

func (m *masked) MarshalJSON() ([]byte, error) { return json.Marshal("masked " + m.Secret[:1]) }

func (m *masked) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &m.Secret) }

// A type's own JSON method is used, also if it is a method of the pointer.
func TestValueWithMethodsOfThePointer(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		st := newSite(t, redistest.Embedded(t), func(c *settings) {
			if encrypted {
				c.Codec, _ = session.Encrypt(nil, make([]byte, 32))
			}
		})
		b := st.login("alice")
		one, two, three := session.NewKey[masked]("one"), session.NewKey[masked]("two"), session.NewKey[masked]("three")
		st.request(b, func(ctx context.Context, s *session.Session) {
			st.check(one.Set(s, masked{"secret"}))
			_, _, err := two.SetNX(ctx, s, masked{"secret"})
			st.check(err)
			_, err = three.Update(ctx, s, func(masked) (masked, error) { return masked{"secret"}, nil })
			st.check(err)
		})
		st.request(b, func(_ context.Context, s *session.Session) {
			for _, key := range []session.Key[masked]{one, two, three} {
				if v, err := key.Get(s); err != nil || v.Secret != "masked s" {
					t.Errorf("got %+v, %v, want what MarshalJSON made of it", v, err)
				}
			}
		})
	}
}

type (
	number  int64
	embeds  struct{ inner }
	inner   struct{ Any any }
	list    struct{ Next *list }
	skipped struct {
		A any `json:"-"`
		B int64
	}
)

var keysMade atomic.Int64

// oneMore returns a key of a name that no other type has.
func oneMore[T any]() session.Key[T] { return session.NewKey[T](fmt.Sprint("x", keysMade.Add(1))) }

// Set returns an error for values that JSON would change silently. All other values come
// back as they were.
func TestValuesThatJSONWouldChange(t *testing.T) {
	const odd = 1<<53 + 1
	st := newSite(t, redistest.Embedded(t))
	b := st.login("alice")
	st.request(b, func(_ context.Context, s *session.Session) {
		for name, err := range map[string]error{
			"string":                    oneMore[string]().Set(s, "\xff"),
			"string in the middle":      oneMore[string]().Set(s, `\\`+"\xff"),
			"string of a struct":        oneMore[struct{ A string }]().Set(s, struct{ A string }{"a\xc3"}),
			"name of a map":             oneMore[map[string]int]().Set(s, map[string]int{"\xff": 1}),
			"string in an any":          oneMore[any]().Set(s, []any{"\xff"}),
			"int64 in an any":           oneMore[any]().Set(s, int64(odd)),
			"negative":                  oneMore[any]().Set(s, int64(-odd)),
			"uint64 in an any":          oneMore[any]().Set(s, uint64(math.MaxUint64)),
			"a type of int64 in an any": oneMore[any]().Set(s, number(odd)),
			"json.Number in an any":     oneMore[any]().Set(s, json.Number(strconv.Itoa(odd))),
			"big.Int in an any":         oneMore[any]().Set(s, big.NewInt(odd)),
			"pointer in an any":         oneMore[any]().Set(s, new(int64(odd))),
			"map of any":                oneMore[map[string]any]().Set(s, map[string]any{"a": map[string]any{"b": odd}}),
			"list of any":               oneMore[[]any]().Set(s, []any{1, odd}),
			"field of any":              oneMore[inner]().Set(s, inner{odd}),
			"field of an embedded":      oneMore[embeds]().Set(s, embeds{inner{odd}}),
			"struct in an any":          oneMore[any]().Set(s, struct{ A []int64 }{[]int64{odd}}),
		} {
			t.Run(name, func(t *testing.T) {
				if err == nil || !strings.Contains(err.Error(), `encode "x`) || errors.Is(err, session.ErrUnavailable) {
					t.Errorf("got %v, want an error that names the value", err)
				}
			})
		}
		for name, err := range map[string]error{
			"U+FFFD":               oneMore[string]().Set(s, "\uFFFD"),
			"the text of its code": oneMore[string]().Set(s, `\ufffd`),
			"after a backslash":    oneMore[string]().Set(s, `\\ufffd`),
			"bytes":                oneMore[[]byte]().Set(s, []byte{0xff}),
			"typed int64":          oneMore[int64]().Set(s, odd),
			"struct":               oneMore[struct{ A int64 }]().Set(s, struct{ A int64 }{odd}),
			"field aside an any":   oneMore[skipped]().Set(s, skipped{odd, odd}),
			"float in an any":      oneMore[any]().Set(s, 1e300/3),
			"whole float":          oneMore[any]().Set(s, 123456789012345680000.0),
			"power of two":         oneMore[any]().Set(s, int64(1<<60)),
			"nil":                  oneMore[any]().Set(s, nil),
			"nil in a list":        oneMore[[]any]().Set(s, []any{nil, (*int)(nil)}),
			"recursive type":       oneMore[list]().Set(s, list{&list{}}),
		} {
			t.Run(name, func(t *testing.T) {
				if err != nil {
					t.Error(err)
				}
			})
		}
		st.check(session.NewKey[string]("y").Set(s, `\ufffd`+"\uFFFD"))
		if v, err := session.NewKey[string]("y").Get(s); err != nil || v != `\ufffd`+"\uFFFD" {
			t.Errorf("got %q, %v", v, err)
		}
		st.check(s.Flash(session.Message{Text: "caf\xe9"}))
	})
	st.request(b, func(ctx context.Context, s *session.Session) {
		if msgs, err := s.Flashes(ctx); err != nil || len(msgs) != 1 || msgs[0].Text != "caf\uFFFD" {
			t.Errorf("flashes: %q, %v", msgs, err)
		}
	})
}

// An error about bytes that don't read does not quote them.
func TestErrorsOfCodecsShowNoValue(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	b := st.login("alice")
	st.request(b, func(_ context.Context, s *session.Session) {
		st.check(session.NewKey[int64]("card").Set(s, 4111111111111111))
		st.check(session.NewKey[string]("text").Set(s, "hunter2"))
		st.check(session.NewKey[map[string]int64]("map").Set(s, map[string]int64{"Pin": 4111111111111111}))
	})
	st, b = st.elsewhere(b)
	st.request(b, func(_ context.Context, s *session.Session) {
		_, small := session.NewKey[int8]("card").Get(s)
		_, wrong := session.NewKey[noisy]("text").Get(s)
		_, field := session.NewKey[struct{ Pin int8 }]("map").Get(s)
		set := session.NewKey[noisy]("text").Set(s, noisy{"hunter2"})
		for name, err := range map[string]error{"number": small, "method": wrong, "field": field, "encode": set} {
			t.Run(name, func(t *testing.T) {
				for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%q", err)} {
					if err == nil || strings.Contains(text, "4111") || strings.Contains(text, "hunter2") {
						t.Errorf("got %s, want an error without the value", text)
					}
				}
			})
		}
		if !strings.Contains(field.Error(), "int8") || !strings.Contains(field.Error(), "Pin") {
			t.Errorf("%v names neither field nor type", field)
		}
		var cause noise
		if !errors.As(wrong, &cause) {
			t.Errorf("%v hides the codec's error from the program", wrong)
		}
	})
}

// noisy has methods whose errors quote the value.
type noisy struct{ text string }

type noise string

func (n noise) Error() string { return "can't use " + string(n) }

func (n noisy) MarshalJSON() ([]byte, error)     { return nil, noise(n.text) }
func (n *noisy) UnmarshalJSON(data []byte) error { return noise(data) }
