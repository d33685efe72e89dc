package session_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// TestOneNameOfTwoTypes: the bytes of 5 decode as an int, as a float64 and as a count, so
// decoding does not show a wrong type.
func TestOneNameOfTwoTypes(t *testing.T) {
	uses := func(ctx context.Context, s *session.Session, key session.Key[float64]) map[string]error {
		_, get := key.Get(s)
		_, _, lookup := key.Lookup(s)
		_, _, pop := key.Pop(ctx, s)
		_, _, setNX := key.SetNX(ctx, s, 7777)
		_, update := key.Update(ctx, s, func(float64) (float64, error) { return 7777, nil })
		return map[string]error{"Get": get, "Lookup": lookup, "Pop": pop, "SetNX": setNX, "Update": update, "Set": key.Set(s, 7777)}
	}
	st := newSite(t, redistest.Embedded(t))
	for name, b := range map[string]*browsertest.Browser{"guest": st.browser(), "login": st.login("alice")} {
		st.request(b, func(_ context.Context, s *session.Session) {
			st.check(session.NewKey[int]("n").Set(s, 5))
			st.check(hits.Add(s, 5))
		})
		st.request(b, func(ctx context.Context, s *session.Session) {
			for _, n := range []string{"n", "hits"} {
				was := map[string]string{"n": "as int ", "hits": "as session.Counter "}[n]
				for op, err := range uses(ctx, s, session.NewKey[float64](n)) {
					if err == nil || !strings.Contains(err.Error(), `"`+n+`"`) || !strings.Contains(err.Error(), was) ||
						!strings.Contains(err.Error(), "as float64") || strings.Contains(err.Error(), "7777") || errors.Is(err, session.ErrUnavailable) {
						t.Errorf("%s: %s of %s: got %v, want an error with the name and both types", name, op, n, err)
					}
				}
			}
			_, get := session.NewCounter("n").Get(s)
			for op, err := range map[string]error{"Get": get, "Add": session.NewCounter("n").Add(s, 1)} {
				if err == nil || !strings.Contains(err.Error(), "as int and as session.Counter") {
					t.Errorf("%s: Counter.%s: got %v", name, op, err)
				}
			}
		})
		st.request(b, func(_ context.Context, s *session.Session) {
			if v, err := session.NewKey[int]("n").Get(s); v != 5 || err != nil {
				t.Errorf("%s: the value is %d, %v, want 5", name, v, err)
			}
			if v, err := hits.Get(s); v != 5 || err != nil {
				t.Errorf("%s: the count is %d, %v, want 5", name, v, err)
			}
		})
	}
	st, b := st.elsewhere(st.browser())
	st.request(b, func(_ context.Context, s *session.Session) { st.check(session.NewKey[float64]("n").Set(s, 1)) }) // per manager
}

// TestMistakesThatNobodyLooksAt: if a handler ignores the error of a wrong Set, the log
// has it.
func TestMistakesThatNobodyLooksAt(t *testing.T) {
	for text, set := range map[string]func(s *session.Session){
		"as string and as int":           func(s *session.Session) { _ = session.NewKey[int]("color").Set(s, 1) },
		"as string and as session.Count": func(s *session.Session) { _ = session.NewCounter("color").Add(s, 1) },
		"not UTF-8":                      func(s *session.Session) { _ = color.Set(s, "\xff") },
	} {
		t.Run(text, func(t *testing.T) {
			st := newSite(t, redistest.Embedded(t))
			b := st.login("alice")
			st.request(b, func(_ context.Context, s *session.Session) { st.check(color.Set(s, "red")) })
			st.on("/wrong", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { set(s) })
			want(t, b.Do("POST", "/wrong"), 200, "")
			if logs := st.logs.String(); strings.Count(logs, "changes were not made") != 1 || !strings.Contains(logs, text) {
				t.Errorf("got the log %q, want one line with %q", logs, text)
			}
		})
	}
}
