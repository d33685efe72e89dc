package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// patient is a budget that is long enough for a busy machine. A call that waits for its
// end does not answer in time.
func patient(c *settings) { c.Budget = 10 * time.Second }

// Inside the function of an Update the session can be used. A change of the same value
// returns an error at once.
func TestInsideUpdate(t *testing.T) {
	number := session.NewCounter("cart")
	same := func(err error) error {
		if err == nil || !strings.Contains(err.Error(), "in an Update") && !strings.Contains(err.Error(), "used as") {
			return fmt.Errorf("a change of the same value: got %v, want an error", err)
		}
		return nil
	}
	for _, c := range []struct {
		name   string
		inside func(ctx context.Context, s *session.Session) error
		want   error // of the Update of a user's session
	}{
		{"Update", func(ctx context.Context, s *session.Session) error {
			_, err := cart.Update(ctx, s, func(l []string) ([]string, error) { return l, nil })
			return same(err)
		}, nil},
		{"Pop", func(ctx context.Context, s *session.Session) error { _, _, err := cart.Pop(ctx, s); return same(err) }, nil},
		{"SetNX", func(ctx context.Context, s *session.Session) error {
			_, _, err := cart.SetNX(ctx, s, nil)
			return same(err)
		}, nil},
		{"Set", func(_ context.Context, s *session.Session) error { return same(cart.Set(s, nil)) }, nil},
		{"Delete", func(_ context.Context, s *session.Session) error { return same(cart.Delete(s)) }, nil},
		{"Add", func(_ context.Context, s *session.Session) error { return same(number.Add(s, 1)) }, nil},
		{"Clear", func(_ context.Context, s *session.Session) error { return same(s.Clear()) }, nil},
		{"Get", func(_ context.Context, s *session.Session) error { _, err := cart.Get(s); return err }, nil},
		{"Update of another value", func(ctx context.Context, s *session.Session) error {
			_, err := color.Update(ctx, s, func(string) (string, error) { return "red", nil })
			return err
		}, nil},
		{"Pop of another value", func(ctx context.Context, s *session.Session) error { _, _, err := color.Pop(ctx, s); return err }, nil},
		{"SetNX of another value", func(ctx context.Context, s *session.Session) error {
			_, _, err := color.SetNX(ctx, s, "red")
			return err
		}, nil},
		{"Set of another value, Save", func(ctx context.Context, s *session.Session) error {
			return errors.Join(color.Set(s, "red"), s.Save(ctx))
		}, nil},
		{"Reload", func(ctx context.Context, s *session.Session) error { return s.Reload(ctx) }, nil},
		{"Flashes", func(ctx context.Context, s *session.Session) error { _, err := s.Flashes(ctx); return err }, nil},
		{"Login", func(ctx context.Context, s *session.Session) error {
			return s.Login(ctx, "bob", session.LoginOptions{})
		}, session.ErrConflict},
		{"Logout", func(ctx context.Context, s *session.Session) error { return s.Logout(ctx) }, session.ErrConflict},
		{"RevokeOthers", func(ctx context.Context, s *session.Session) error {
			if s.UserID() == "" {
				return nil
			}
			_, err := s.RevokeOthers(ctx)
			return err
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			st := newSite(t, redistest.Embedded(t), patient)
			for _, user := range []string{"", "alice"} {
				b := st.browser()
				if user != "" {
					b = st.login(user)
					want(t, b.Do("POST", "/set?k=color&v=blue"), 200, "")
				}
				answered(t, user, func() {
					begin, calls := time.Now(), 0
					st.request(b, func(ctx context.Context, s *session.Session) {
						_, err := cart.Update(ctx, s, func([]string) ([]string, error) {
							if calls++; calls > 1 {
								return []string{"book"}, nil
							}
							return []string{"book"}, c.inside(ctx, s)
						})
						if user != "" && c.want != nil {
							if !errors.Is(err, c.want) {
								t.Errorf("got %v, want %v", err, c.want)
							}
						} else if err != nil {
							t.Errorf("user %q: %v", user, err)
						}
					})
					if took := time.Since(begin); took > 8*time.Second {
						t.Errorf("user %q: it took %v: something was waited for", user, took)
					}
				})
				if user == "" || c.want == nil {
					st.request(b, func(_ context.Context, s *session.Session) {
						if l, err := cart.Get(s); err != nil || len(l) != 1 {
							t.Errorf("user %q: the value is %v, %v", user, l, err)
						}
					})
				}
			}
		})
	}
}

// Six hundred users are in the functions of their updates at once: none waits for
// another.
func TestUnrelatedUpdatesDoNotWait(t *testing.T) {
	const users = 600
	st := newSite(t, redistest.Embedded(t), patient)
	var inside sync.WaitGroup
	inside.Add(users)
	st.on("/up", func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
		_, err := cart.Update(r.Context(), s, func(l []string) ([]string, error) {
			inside.Done()
			inside.Wait()
			return append(l, "book"), nil
		})
		st.check(err)
	})
	cookies := make([]string, users)
	for i := range users {
		cookies[i] = st.login("user" + strconv.Itoa(i)).Cookie(cookieName)
	}
	answered(t, "600 updates", func() {
		together(users, func(i int) {
			b := st.browser()
			b.SetCookie(cookieName, cookies[i])
			want(t, b.Do("POST", "/up"), 200, "")
		})
	})
}

// If an update waits too long for another request's update of the same value, it returns
// ErrBusy, and the other one succeeds.
func TestUpdateThatWaitsTooLong(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	b := st.login("alice")
	busy := newSiteOn(t, st.client, st.prefix, func(c *settings) { c.Budget = time.Second })
	c := busy.browser()
	c.SetCookie(cookieName, b.Cookie(cookieName))
	d := c.Clone()
	update := func(ctx context.Context, s *session.Session, f func()) error {
		_, err := cart.Update(ctx, s, func(l []string) ([]string, error) {
			f()
			return append(l, "x"), nil
		})
		return err
	}
	busy.request(c, func(ctx context.Context, s *session.Session) {
		busy.check(update(ctx, s, func() {
			if resp := busy.request(d, func(ctx context.Context, s *session.Session) {
				err := update(ctx, s, func() { t.Error("its function was called") })
				if !errors.Is(err, session.ErrBusy) || errors.Is(err, session.ErrConflict) || !strings.Contains(err.Error(), `"cart"`) {
					t.Errorf("at the budget: %v, want ErrBusy that names the value", err)
				}
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				err = update(ctx, s, func() { t.Error("its function was called") })
				if !errors.Is(err, context.Canceled) || errors.Is(err, session.ErrConflict) {
					t.Errorf("at the end of the context: %v, want that", err)
				}
				if f, _ := busy.m.Refusal(&http.Request{}, session.ErrBusy); f.Status != 503 {
					t.Errorf("the answer to ErrBusy is %+v, want 503", f)
				}
			}); resp.StatusCode != 200 {
				t.Errorf("got %d", resp.StatusCode)
			}
		}))
	})
	busy.request(c, func(_ context.Context, s *session.Session) {
		if l, err := cart.Get(s); err != nil || len(l) != 1 {
			t.Errorf("the value is %v, %v, want one entry", l, err)
		}
	})
}

// asking is a value whose methods use the session that it is in.
type asking struct {
	s    *session.Session
	Text string
}

func (a asking) MarshalJSON() ([]byte, error) {
	was, err := color.Get(a.s)
	if err == nil {
		err = color.Set(a.s, was+"x")
	}
	return []byte(strconv.Quote(a.Text)), err
}

func (a *asking) UnmarshalJSON(data []byte) (err error) {
	a.Text, err = strconv.Unquote(string(data))
	return err
}

func TestValueThatAsksItsSession(t *testing.T) {
	st := newSite(t, redistest.Embedded(t), patient)
	b := st.login("alice")
	key := session.NewKey[asking]("asking")
	answered(t, "a MarshalJSON that asks the session", func() {
		st.request(b, func(ctx context.Context, s *session.Session) {
			_, first, err := key.SetNX(ctx, s, asking{s, "a"})
			st.check(err)
			st.check(key.Set(s, asking{s, "b"}))
			st.check(s.Save(ctx))
			v, err := key.Update(ctx, s, func(v asking) (asking, error) { return asking{s, v.Text + "c"}, nil })
			st.check(err)
			if text, _ := color.Get(s); !first || v.Text != "bc" || text != "xxx" {
				t.Errorf("got %v %q %q", first, v.Text, text)
			}
		})
	})
}

// A panic of the program's own code inside a change of a value ends that request only.
func TestPanicInsideAChange(t *testing.T) {
	key := session.NewKey[explosive]("broken")
	for name, f := range map[string]func(ctx context.Context, s *session.Session){
		"Update": func(ctx context.Context, s *session.Session) {
			_, _ = cart.Update(ctx, s, func([]string) ([]string, error) { panic("f") })
		},
		"Set":   func(_ context.Context, s *session.Session) { _ = key.Set(s, explosive{}) },
		"SetNX": func(ctx context.Context, s *session.Session) { _, _, _ = key.SetNX(ctx, s, explosive{}) },
		"Update of a codec's": func(ctx context.Context, s *session.Session) {
			_, _ = key.Update(ctx, s, func(p explosive) (explosive, error) { return p, nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t, redistest.Embedded(t), patient)
			st.handler = recovering(st.handler)
			b := st.login("alice")
			answered(t, name, func() {
				if resp := st.request(b, f); resp.StatusCode != 500 {
					t.Errorf("got %d, want 500", resp.StatusCode)
				}
				st.request(b, func(ctx context.Context, s *session.Session) {
					_, err := cart.Update(ctx, s, func(l []string) ([]string, error) { return append(l, "x"), nil })
					st.check(err)
				})
			})
		})
	}
}

type explosive struct{}

func (explosive) MarshalJSON() ([]byte, error) { panic("a codec") }

// nosy is a reader of old sessions that asks for the very session that it has to find.
type nosy struct{ got chan error }

func (nosy) Cookie() http.Cookie { return http.Cookie{Name: "old"} }

func (n nosy) Read(ctx context.Context, _ *http.Request, _ session.LegacyGet) (session.LegacySession, bool, error) {
	_, err := session.From(ctx)
	n.got <- err
	return session.LegacySession{}, false, nil
}

func TestLegacyReaderThatAsksForTheSession(t *testing.T) {
	reader := nosy{make(chan error, 1)}
	st := newSite(t, redistest.Embedded(t), patient, func(c *settings) { c.Legacy = reader })
	b := st.browser()
	b.SetCookie("old", "x")
	answered(t, "a reader that asks for the session", func() { want(t, b.Do("GET", "/who"), 200, "") })
	if err := <-reader.got; err == nil || errors.Is(err, session.ErrUnavailable) {
		t.Errorf("got %v, want an error at once", err)
	}
}
