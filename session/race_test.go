package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// together runs f n times at once.
func together(n int, f func(i int)) {
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-start
			f(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
}

func TestFiftyRequestsKeepFiftyValues(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		b := st.login("alice")
		// All have read before the first one writes: the most dangerous order.
		var read sync.WaitGroup
		read.Add(50)
		st.on("/slow", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			read.Done()
			read.Wait()
			i := r.URL.Query().Get("i")
			st.check(session.NewKey[string]("k"+i).Set(s, i))
			st.check(hits.Add(s, 1))
		})
		together(50, func(i int) { want(t, b.Send(b.Request("POST", fmt.Sprintf("/slow?i=%d", i), nil)), 200, "") })
		for i := range 50 {
			want(t, b.Do("GET", fmt.Sprintf("/get?k=k%d", i)), 200, strconv.Itoa(i))
		}
		want(t, b.Do("GET", "/hits"), 200, "50")
	})
}

func TestPopDeliversAtMostOnce(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		b := st.login("alice")
		want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		var got atomic.Int64
		st.on("/pop", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			v, ok, err := color.Pop(r.Context(), s)
			st.check(err)
			if ok {
				got.Add(1)
				if v != "red" {
					t.Errorf("popped %q", v)
				}
			}
		})
		together(50, func(int) { want(t, b.Send(b.Request("POST", "/pop", nil)), 200, "") })
		if got.Load() != 1 {
			t.Errorf("50 requests popped it %d times, want 1", got.Load())
		}
	})
}

func TestSetNXAgrees(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		b := st.login("alice")
		var first atomic.Int64
		var values sync.Map
		st.on("/nx", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			v, ours, err := color.SetNX(r.Context(), s, r.URL.Query().Get("i"))
			st.check(err)
			values.Store(v, true)
			if ours {
				first.Add(1)
			}
		})
		together(50, func(i int) { want(t, b.Send(b.Request("POST", fmt.Sprintf("/nx?i=%d", i), nil)), 200, "") })
		n := 0
		values.Range(func(any, any) bool { n++; return true })
		if first.Load() != 1 || n != 1 {
			t.Errorf("%d requests set it, to %d values, want 1 and 1", first.Load(), n)
		}
	})
}

func TestUpdateLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		other := newSiteOn(t, st.client, st.prefix) // another process, whose updates don't wait for ours
		b := st.login("alice")
		visit := func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			_, err := cart.Update(r.Context(), s, func(l []string) ([]string, error) {
				return append(l, r.URL.Query().Get("i")), nil
			})
			st.check(err)
		}
		st.on("/up", visit)
		other.on("/up", visit)
		sites := []*site{st, other}
		together(50, func(i int) {
			c := browsertest.NewBrowser(sites[i%2].handler)
			c.SetCookie(cookieName, b.Cookie(cookieName))
			want(t, c.Do("POST", fmt.Sprintf("/up?i=%d", i)), 200, "")
		})
		st.request(b, func(ctx context.Context, s *session.Session) {
			l, err := cart.Get(s)
			if err != nil || len(l) != 50 {
				t.Errorf("%d of 50 updates are there: %v", len(l), err)
			}
		})
	})
}

// A poll that began with the guest's cookie ends after the login: its response must not
// touch the login's cookie.
func TestPollInFlightDoesNotUndoALogin(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		for _, write := range []bool{false, true} {
			for _, wait := range []string{"unread", "read"} {
				st := newSite(t, srv)
				b := st.browser()
				want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
				arrived, goOn := make(chan bool), make(chan bool)
				poll := browsertest.Middleware(st.m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if wait == "read" {
						_, err := session.From(r.Context())
						st.check(err)
					}
					arrived <- true
					<-goOn
					s, err := session.From(r.Context())
					st.check(err)
					_, err = color.Get(s)
					st.check(err)
					if write {
						err := hits.Add(s, 1)
						if wait == "unread" && err == nil || err != nil && !errors.Is(err, session.ErrGone) {
							t.Errorf("write: %v, want ErrGone", err)
						}
					}
				}))
				r := b.Request("GET", "/poll", nil)
				answer := make(chan *http.Response)
				go func() { answer <- browsertest.NewBrowser(poll).Send(r) }()
				<-arrived
				want(t, b.Do("POST", "/login?user=alice"), 200, "")
				want(t, b.Do("GET", "/who"), 200, "alice") // the guest's session ends
				goOn <- true
				resp := <-answer
				b.Keep(resp)
				if len(resp.Cookies()) > 0 {
					t.Errorf("write %v, %s: the poll answers with cookies %v", write, wait, resp.Cookies())
				}
				want(t, b.Do("GET", "/who"), 200, "alice")
			}
		}
	})
}

// One request may use its session from several goroutines.
func TestOneRequestManyGoroutines(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	b := st.browser()
	st.request(b, func(ctx context.Context, s *session.Session) {
		together(20, func(i int) {
			key := session.NewKey[int]("k" + strconv.Itoa(i))
			st.check(key.Set(s, i))
			st.check(hits.Add(s, 1))
			_, err := color.Get(s)
			st.check(err)
			_, _, err = key.Pop(ctx, s)
			st.check(err)
			if i == 7 {
				st.check(s.Login(ctx, "alice", session.LoginOptions{}))
			}
			_ = s.UserID() + s.ID() + s.String()
		})
	})
	want(t, b.Do("GET", "/who"), 200, "alice")
}

func TestSessionOutlivesItsHandlerSafely(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	b := st.login("alice")
	var kept *session.Session
	st.on("/keep", func(w http.ResponseWriter, r *http.Request, s *session.Session) { kept = s; io.WriteString(w, "x") })
	b.Do("GET", "/keep")
	ctx := context.Background()
	_, _, err := color.Pop(ctx, kept)
	for i, err := range []error{err, color.Set(kept, "x"), kept.Save(ctx), kept.Login(ctx, "bob", session.LoginOptions{}), kept.Logout(ctx)} {
		if !errors.Is(err, session.ErrTooLate) {
			t.Errorf("%d: %v, want ErrTooLate", i, err)
		}
	}
	if !strings.Contains(kept.String(), kept.ID()) {
		t.Error("it can't be printed")
	}
}
