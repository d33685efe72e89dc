package adaptertest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

const usedEvery = 200 * time.Millisecond

// usedLong: requests that last longer than the idle timeout.
func usedLong(t *testing.T, k kit, srv *redistest.Server) {
	redistest.Long(t)
	for idle := 3 * time.Second; idle < time.Minute; idle *= 2 {
		if usedLongOnce(t, k, srv, idle) {
			return
		}
		t.Logf("the machine kept a session unused for too long of %v: again, with twice that", idle)
	}
	t.Fatal("the machine keeps sessions unused for 16 s")
}

// usedLongOnce returns false if the machine was so slow that sessions ended before their
// next use.
func usedLongOnce(t *testing.T, k kit, srv *redistest.Server, idle time.Duration) bool {
	w := newWorld(t, k, srv.Client(t), func(c *settings) {
		c.Lifetime = session.Lifetime{IdleTimeout: idle, AbsoluteTimeout: time.Hour}
	})
	uses := pace{idle: idle}
	ways := map[string]func(ctx context.Context, s *session.Session) error{
		"/nothing": func(context.Context, *session.Session) error { return nil },
		"/touch":   func(ctx context.Context, s *session.Session) error { return s.Touch(ctx) },
		"/reload":  func(ctx context.Context, s *session.Session) error { return s.Reload(ctx) },
		"/save":    func(ctx context.Context, s *session.Session) error { return s.Save(ctx) },
		"/update": func(ctx context.Context, s *session.Session) error {
			return second(color.Update(ctx, s, func(string) (string, error) { return "blue", nil }))
		},
	}
	for path, use := range ways {
		// A stream: the response has begun.
		w.on("GET", path, func(rw http.ResponseWriter, r *http.Request) error {
			s, err := session.From(r.Context())
			if err = errors.Join(err, s.Save(r.Context()), http.NewResponseController(rw).Flush()); err != nil {
				return err
			}
			uses.repeatedly(func() { err = errors.Join(err, use(r.Context(), s)) })
			return err
		})
	}
	w.on("GET", "/socket", func(rw http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		if err != nil {
			return err
		}
		conn, err := websocket.Accept(rw, r, nil)
		if err != nil {
			return err
		}
		defer func() { _ = conn.CloseNow() }()
		for err == nil {
			if _, _, err = conn.Read(r.Context()); err == nil {
				err = s.Save(r.Context())
			}
		}
		return nil
	})
	w.on("POST", "/upload", func(_ http.ResponseWriter, r *http.Request) error {
		_, err := io.Copy(io.Discard, r.Body)
		return errors.Join(err, Mark(session.From(r.Context())))
	})
	w.start()
	var all sync.WaitGroup
	visitors := map[string]*visitor{}
	for path := range ways {
		v := w.member()
		visitors[path] = v
		all.Go(func() { v.do("GET", path).wants(t, 200, "") })
	}
	socket, upload := w.member(), w.member()
	visitors["/socket"], visitors["/upload"] = socket, upload
	all.Go(func() {
		conn, _, err := websocket.Dial(t.Context(), w.server.URL+"/socket", &websocket.DialOptions{HTTPClient: socket.client})
		if err != nil {
			t.Error(err)
			return
		}
		uses.repeatedly(func() { err = errors.Join(err, conn.Write(t.Context(), websocket.MessageText, []byte("x"))) })
		if err = errors.Join(err, conn.Close(websocket.StatusNormalClosure, "")); err != nil {
			t.Errorf("the socket: %v", err)
		}
	})
	all.Go(func() {
		r := upload.request(t.Context(), "POST", "/upload")
		r.Body = uses.slowBody()
		if a, err := upload.try(r); err != nil || a.status != 200 {
			t.Errorf("the upload: %d, %v", a.status, err)
		}
	})
	all.Wait()
	ended := time.Now()
	w.settled()
	seen := map[string]string{}
	for path, v := range visitors {
		seen[path] = v.do("GET", "/value").body
	}
	if time.Duration(uses.longest.Load()) > idle/3 || time.Since(ended) > idle/3 {
		return false
	}
	for path, got := range seen {
		want := "alice:blue"
		switch path {
		case "/nothing":
			want = ":"
		case "/upload":
			want = "alice:red"
		}
		if got != want {
			t.Errorf("after %s: the visitor is %q, want %q", path, got, want)
		}
	}
	return true
}

// pace is how a session is used: often, and for longer than its idle timeout.
type pace struct {
	idle    time.Duration
	longest atomic.Int64 // the longest time between two uses
}

// repeatedly calls f every usedEvery, a second longer than the idle timeout.
func (p *pace) repeatedly(f func()) {
	start := time.Now()
	for last := start; time.Since(start) < p.idle+time.Second; time.Sleep(usedEvery) {
		f()
		for waited := int64(time.Since(last)); ; {
			longest := p.longest.Load()
			if waited <= longest || p.longest.CompareAndSwap(longest, waited) {
				break
			}
		}
		last = time.Now()
	}
}

// slowBody returns the body of an upload that takes as long.
func (p *pace) slowBody() io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		p.repeatedly(func() { _, _ = io.WriteString(w, "x") })
		_ = w.Close()
	}()
	return r
}
