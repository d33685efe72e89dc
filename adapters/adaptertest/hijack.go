package adaptertest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// upgraded is the header that a handler writes to a connection it took over.
const upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: Upgrade\r\n\r\n"

// hijacked: the handler takes the connection over, and writes a header of its own.
func hijacked(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	takeOver := func(hijack func(http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error)) Handler {
		return func(rw http.ResponseWriter, r *http.Request) error {
			s, err := session.From(r.Context())
			if err = errors.Join(err, color.Set(s, "red")); err != nil {
				return err
			}
			conn, buf, err := hijack(rw)
			if err != nil {
				http.Error(rw, "refused", http.StatusConflict)
				return nil
			}
			defer func() { _ = conn.Close() }()
			_, err = io.WriteString(buf, upgraded+"hello "+s.UserID())
			if err = errors.Join(err, buf.Flush()); err != nil {
				t.Errorf("write to the connection: %v", err)
			}
			if err := color.Set(s, "late"); !errors.Is(err, session.ErrTooLate) {
				t.Errorf("change after Hijack: got %v, want ErrTooLate", err)
			}
			return nil
		}
	}
	w.on("GET", "/interface", takeOver(func(rw http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
		return rw.(http.Hijacker).Hijack()
	}))
	w.on("GET", "/controller", takeOver(func(rw http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
		return http.NewResponseController(rw).Hijack()
	}))
	w.start()
	for _, path := range []string{"/interface", "/controller"} {
		v := w.member()
		if got, want := v.raw(t, path), upgraded+"hello alice"; got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
		v.sees(t, "alice", "red")

		// The cookie of a new session can't be sent on a connection that the handler took
		// over. So Hijack returns an error, and the handler may answer.
		guest := w.visitor()
		guest.do("GET", path).wants(t, 409, "refused\n").cookies(t, 1)
		guest.sees(t, "", "red")
	}
	w.noLine(t, "hijacked")
}

// raw sends a request for an upgrade and returns all that comes back.
func (v *visitor) raw(t *testing.T, path string) string {
	t.Helper()
	addr := strings.TrimPrefix(v.w.server.URL, "http://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil { // of a test that hangs
		t.Fatal(err)
	}
	r := v.request(t.Context(), "GET", path, "Connection", "Upgrade, close", "Upgrade", "raw", "Cookie", v.cookie())
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// webSocket: a library upgrades the connection, and the handler uses the session while
// the socket is open.
func webSocket(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // of a test that hangs
	defer cancel()
	w.on("GET", "/socket", func(rw http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		if err = errors.Join(err, color.Set(s, "red")); err != nil {
			return err
		}
		conn, err := websocket.Accept(rw, r, nil)
		if err != nil {
			t.Errorf("accept: %v", err)
			return nil
		}
		defer func() { _ = conn.CloseNow() }()
		_, text, err := conn.Read(ctx)
		if err != nil {
			t.Errorf("read: %v", err)
		}
		if err := errors.Join(s.Save(ctx), color.Set(s, string(text)), s.Save(ctx)); err != nil {
			t.Errorf("save while the socket is open: %v", err)
		}
		if err := conn.Write(ctx, websocket.MessageText, []byte("hello "+s.UserID())); err != nil {
			t.Errorf("write: %v", err)
		}
		_, _, _ = conn.Read(ctx) // until the client closes
		return nil
	})
	w.on("GET", "/private", failing(200), k.requireLogin(w.m, ""))
	w.start()
	dial := func(v *visitor, path string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(ctx, w.server.URL+path, &websocket.DialOptions{HTTPClient: v.client})
	}
	for user, v := range map[string]*visitor{"alice": w.member(), "": w.visitor()} {
		conn, resp, err := dial(v, "/socket")
		if err != nil {
			t.Fatalf("dial as %q: %v", user, err)
		}
		// The library writes a 101, which carries a new cookie like any other header.
		if n := len(resp.Header.Values("Set-Cookie")); n != 1 && user == "" || n != 0 && user != "" {
			t.Errorf("dial as %q: %d cookies", user, n)
		}
		if err := conn.Write(ctx, websocket.MessageText, []byte("green")); err != nil {
			t.Fatal(err)
		}
		if _, text, err := conn.Read(ctx); err != nil || string(text) != "hello "+user {
			t.Errorf("dial as %q: got %q, %v", user, text, err)
		}
		v.do("GET", "/value").wants(t, 200, user+":green").cookies(t, 0)
		_ = conn.Close(websocket.StatusNormalClosure, "")
		v.sees(t, user, "green")
	}
	if conn, resp, err := dial(w.visitor(), "/private"); err == nil {
		_ = conn.CloseNow()
		t.Error("an upgrade got past RequireLogin")
	} else if resp == nil || resp.StatusCode != 401 {
		t.Errorf("an upgrade of a guest: got %v, want 401", resp)
	}
	w.noLine(t, "hijacked")
}
