package fromscs_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/adapters/fromscs"
	"github.com/gatekit/gatekit/session"
)

// stored is the Redis of an old kit that has one value.
func stored(data string) session.LegacyGet {
	return func(context.Context, string) (session.LegacyValue, bool, error) {
		return session.LegacyValue{Data: []byte(data)}, true, nil
	}
}

// Errors are logged, and bytes that could not be read may be a secret. So the text of an
// error quotes no value.
func TestErrorsShowNoValue(t *testing.T) {
	const token = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	decoded := func([]byte) (time.Time, map[string]any, error) {
		return time.Now().Add(time.Hour), map[string]any{"pin": "hunter2"}, nil
	}
	mapped := func(values map[string]any) (session.Carried, error) {
		_, err := strconv.Atoi(values["pin"].(string))
		return session.Carried{}, err
	}
	for name, o := range map[string]fromscs.Options{
		"Map": {Map: mapped, Decode: decoded},
		"Decode": {Map: mapped, Decode: func(data []byte) (time.Time, map[string]any, error) {
			return time.Time{}, nil, fmt.Errorf("can't read %q", data)
		}},
		"gob": {Map: mapped},
	} {
		reader, err := fromscs.New(o)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: "session", Value: token})
		_, _, err = reader.Read(t.Context(), r, stored("hunter2"))
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
