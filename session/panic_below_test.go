package session_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// hook runs a function of the test ahead of each command.
type hook struct{ before func(cmd redis.Cmder) }

func (hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.before(cmd)
		return next(ctx, cmd)
	}
}

func (hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// recovering answers 500 where the handler panics.
func recovering(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				w.WriteHeader(500)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

// answered fails the test if f does not return.
func answered(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: no answer within 20 s", what)
	}
}

// A panic in any call to Redis fails one request only: the same session and all others go
// on.
func TestPanicBelowACallFailsOneRequest(t *testing.T) {
	for nth := 1; ; nth++ {
		srv := redistest.Embedded(t)
		client := srv.Client(t)
		cookie := newSiteOn(t, srv.Client(t), "panic").login("alice").Cookie(cookieName)
		st := newSiteOn(t, client, "panic")
		st.handler = recovering(st.handler)
		var mu sync.Mutex
		calls := 0
		client.AddHook(hook{before: func(redis.Cmder) {
			mu.Lock()
			calls++
			now := calls == nth
			mu.Unlock()
			if now {
				panic("a hook")
			}
		}})
		b := st.browser()
		b.SetCookie(cookieName, cookie)
		failed := 0
		for range 3 {
			answered(t, "after a panic", func() {
				if resp := b.Do("POST", "/add"); resp.StatusCode == 500 {
					failed++
				} else {
					want(t, resp, 200, "")
				}
			})
		}
		if calls < nth {
			return // there is no such call
		}
		if failed != 1 {
			t.Errorf("call %d panics: %d of 3 requests failed, want 1", nth, failed)
		}
	}
}
