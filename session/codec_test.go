package session

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

var (
	keyA = bytes.Repeat([]byte("a"), 32)
	keyB = bytes.Repeat([]byte("b"), 32)
)

func sealing(t testing.TB, current []byte, older ...[]byte) values {
	t.Helper()
	c, err := Encrypt(nil, current, older...)
	if err != nil {
		t.Fatal(err)
	}
	return newValues(c)
}

func TestEncryptedValuesStayWhereTheyAre(t *testing.T) {
	vs := sealing(t, keyA)
	data, err := vs.encode("member", "cart", []string{"secret book"})
	if err != nil || bytes.Contains(data, []byte("book")) {
		t.Fatalf("encode: %q, %v", data, err)
	}
	var got []string
	if err := vs.decode("member", "cart", data, &got); err != nil || got[0] != "secret book" {
		t.Errorf("decode: %v, %v", got, err)
	}
	again, _ := vs.encode("member", "cart", []string{"secret book"})
	if bytes.Equal(again, data) {
		t.Error("the same value is sealed to the same bytes")
	}
	flip := bytes.Clone(data)
	flip[len(flip)-1] ^= 1
	otherKey := bytes.Clone(data)
	otherKey[1] ^= 1
	for _, c := range []struct {
		name, member, field string
		data                []byte
	}{
		{"another session", "membes", "cart", data},
		{"another value", "member", "card", data},
		{"border moved", "membe", "rcart", data[:len(data)-1]},
		{"tampered", "member", "cart", flip},
		{"unknown key", "member", "cart", otherKey},
		{"short", "member", "cart", data[:sealedExtra-1]},
		{"in the clear", "member", "cart", []byte(`["plain text that is long enough to be a sealed value"]`)},
		{"empty", "member", "cart", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got = nil
			err := vs.decode(c.member, c.field, c.data, &got)
			if err == nil || got != nil {
				t.Errorf("decoded to %v", got)
			} else if strings.Contains(err.Error(), "plain text") {
				t.Errorf("the error %q shows the value", err)
			}
		})
	}
}

func TestKeyRing(t *testing.T) {
	old := sealing(t, keyB)
	data, _ := old.encode("m", "x", 7)
	ring := sealing(t, keyA, keyB)
	var n int
	if err := ring.decode("m", "x", data, &n); err != nil || n != 7 {
		t.Errorf("older key: %d, %v", n, err)
	}
	data, _ = ring.encode("m", "x", n)
	if err := old.decode("m", "x", data, &n); err == nil {
		t.Error("written under the older key")
	}
	moved, err := ring.move("m", "n", "x", data)
	if err != nil || sealing(t, keyA).decode("n", "x", moved, &n) != nil {
		t.Errorf("move: %v", err)
	}
	for name, keys := range map[string][][]byte{
		"short": {keyA[:16]}, "none": {nil}, "twice": {keyA, keyA}, "older short": {keyA, keyB[:31]},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Encrypt(nil, keys[0], keys[1:]...); err == nil {
				t.Errorf("accepted")
			}
		})
	}
	c, _ := Encrypt(nil, keyA)
	if _, err := Encrypt(c, keyB); err == nil {
		t.Error("Encrypt of Encrypt accepted")
	}
	if _, err := c.Encode(1); err == nil {
		t.Error("an encrypting codec works without a place")
	}
}

// A new key is introduced in two steps. At each step old and new processes read each
// other's values. If it were done in one step, they would not.
func TestKeyRollOut(t *testing.T) {
	before, first, second, after := sealing(t, keyA), sealing(t, keyA, keyB), sealing(t, keyB, keyA), sealing(t, keyB)
	reads := func(writer, reader values) bool {
		data, err := writer.encode("m", "x", "secret")
		if err != nil {
			t.Fatal(err)
		}
		var v string
		return reader.decode("m", "x", data, &v) == nil && v == "secret"
	}
	for i, both := range [][2]values{{before, first}, {first, second}, {second, after}} {
		for _, p := range [][2]values{{both[0], both[1]}, {both[1], both[0]}} {
			if i < 2 && !reads(p[0], p[1]) {
				t.Errorf("step %d loses a value", i+1)
			}
		}
	}
	if !reads(after, second) || reads(second, before) {
		t.Error("the older key is not needed, or one step is enough: the documentation is wrong")
	}
}

// No two sessions share a key, so the bound of NIST SP 800-38D on the use of a key
// applies to each session alone.
func TestEachSessionHasItsKey(t *testing.T) {
	vs := sealing(t, keyA)
	sealed := vs.sealer.aead(vs.sealer.current, "member").Seal(nil, nil, []byte("plain"), nil)
	if _, err := vs.sealer.aead(vs.sealer.current, "member").Open(nil, nil, sealed, nil); err != nil {
		t.Error(err)
	}
	if _, err := vs.sealer.aead(vs.sealer.current, "membes").Open(nil, nil, sealed, nil); err == nil {
		t.Error("another session's key opens it")
	}
	data := vs.sealer.seal("member", "x", []byte("plain"))
	if data[0] != 2 || len(data) != sealedExtra+len("plain") {
		t.Errorf("the format is version %d, %d bytes", data[0], len(data))
	}
}

func TestJSONFastPathAgrees(t *testing.T) {
	for _, in := range []string{`"x"`, `""`, `"a\"b"`, `"ü"`, `"\u0041"`, `null`, `1`, `"`, ``, `"a"b"`, `"<&>"`, "\"\x00\"", `"a\\"`} {
		t.Run(fmt.Sprintf("%q", in), func(t *testing.T) {
			var fast, slow string
			ferr, serr := jsonCodec{}.Decode([]byte(in), &fast), json.Unmarshal([]byte(in), &slow)
			if (ferr == nil) != (serr == nil) || fast != slow {
				t.Errorf("%s: got %q, %v; encoding/json %q, %v", in, fast, ferr, slow, serr)
			}
		})
	}
}

func FuzzCodec(f *testing.F) {
	f.Add([]byte(`"x"`), "m", "n")
	f.Add([]byte{1}, "", "")
	f.Add(bytes.Repeat([]byte{1}, 64), "member", "name")
	vs := sealing(f, keyA, keyB)
	f.Fuzz(func(t *testing.T, data []byte, member, name string) {
		var fast, slow string
		if ferr, serr := (jsonCodec{}).Decode(data, &fast), json.Unmarshal(data, &slow); (ferr == nil) != (serr == nil) || fast != slow {
			t.Fatalf("%q: got %q, %v; encoding/json %q, %v", data, fast, ferr, slow, serr)
		}
		var got any
		if vs.decode(member, name, data, &got) == nil {
			t.Fatalf("%q was accepted without a key", data)
		}
		sealed, err := vs.encode(member, name, data)
		if err != nil {
			t.Fatal(err)
		}
		var back []byte
		if err := vs.decode(member, name, sealed, &back); err != nil || !bytes.Equal(back, data) {
			t.Fatalf("round trip: %v", err)
		}
	})
}

func TestDeviceTextIsCut(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"Mozilla/5.0", "Mozilla/5.0"},
		{strings.Repeat("a", 100), strings.Repeat("a", 64)},
		{strings.Repeat("ü", 100), strings.Repeat("ü", 32)},
		{"a" + strings.Repeat("ü", 100), "a" + strings.Repeat("ü", 31)},
		{"a\nb\x00c\x7fd", "abcd"},
		{"a\xffb", "ab"},
	} {
		t.Run(fmt.Sprintf("%.12q, %d bytes", c.in, len(c.in)), func(t *testing.T) {
			if got := cut(c.in); got != c.want || len(got) > 64 {
				t.Errorf("cut %q: got %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func TestConfigNamesTheField(t *testing.T) {
	for field, cfg := range map[string]Options{
		"Lifetime.AbsoluteTimeout": {Lifetime: Lifetime{IdleTimeout: 1e9}},
		"Guest.IdleTimeout":        {Guest: Lifetime{IdleTimeout: 1, AbsoluteTimeout: 1e12}},
		"Lifetime.IdleTimeout":     {Lifetime: Lifetime{IdleTimeout: 1, AbsoluteTimeout: 1e12}},
		"Lifetime.Rotate":          {Lifetime: Lifetime{AbsoluteTimeout: 1e12, Rotate: 1}},
		"Remember.AbsoluteTimeout": {Remember: Lifetime{AbsoluteTimeout: maxLife + 1}},
		"Cap 101":                  {Cap: 101},
		"Cap -2":                   {Cap: -2},
		"CapPolicy":                {CapPolicy: 3},
		"MaxBytes":                 {MaxBytes: 1<<20 + 1},
		"IPv4Bits":                 {IPv4Bits: 33},
		"IPv6Bits":                 {IPv6Bits: -2},
		"Carry":                    {Carry: []string{"!o"}},
		"Cookie.Name":              {Cookie: Cookie{Name: "__host-id"}},
		"Cookie.SameSite":          {InsecureCookie: true, Cookie: Cookie{SameSite: 4}},
	} {
		t.Run(field, func(t *testing.T) {
			if _, err := cfg.complete(); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("got error %v", err)
			}
		})
	}
	cfg, err := Options{}.complete()
	if err != nil || cfg.Cap != 10 || cfg.MaxBytes != 16<<10 || !reflect.DeepEqual(cfg.Remember, AAL1) {
		t.Errorf("defaults: %+v, %v", cfg, err)
	}
}
