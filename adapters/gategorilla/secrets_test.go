package gategorilla_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/adapters/gategorilla"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// Errors are logged, and bytes that could not be read may be a secret. So the text of an
// error quotes no value.
func TestLegacyErrorsShowNoValue(t *testing.T) {
	mapped := func(values map[any]any) (session.Carried, error) {
		_, err := strconv.Atoi(values["pin"].(string))
		return session.Carried{}, err
	}
	for name, c := range map[string]struct {
		data string
		json bool
	}{
		"Map": {`{"pin":"hunter2"}`, true}, "JSON": {`hunter2`, true}, "gob": {"hunter2", false},
	} {
		reader, err := gategorilla.FromRbcervilla(gategorilla.LegacyOptions{
			Cookie: http.Cookie{Name: "old"}, Map: mapped, JSON: c.json, IsID: func(string) bool { return true },
		})
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: "old", Value: "id"})
		_, _, err = reader.Read(t.Context(), r, func(context.Context, string) (session.LegacyValue, bool, error) {
			return session.LegacyValue{Data: []byte(c.data)}, true, nil
		})
		for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%q", err)} {
			if err == nil || strings.Contains(text, "hunter2") {
				t.Errorf("%s: got %s, want an error without the value", name, text)
			}
		}
		var number *strconv.NumError
		if name == "Map" && !errors.As(err, &number) {
			t.Errorf("%v hides Map's error from the program", err)
		}
	}
}

// A codec that is a nil of some type is refused when the store is made.
func TestNilCodec(t *testing.T) {
	blobs, _ := newBlobs(t, redistest.Embedded(t).Client(t))
	_, err := gategorilla.New(blobs, gategorilla.Options{Codec: (*strangeCodec)(nil)})
	if err == nil || !strings.Contains(err.Error(), "gategorilla: Codec: the *gategorilla_test.strangeCodec is nil") {
		t.Errorf("got %v, want an error that names the field", err)
	}
}

type strangeCodec struct{ gategorilla.Gob }
