package respwriter

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// bare is a writer with the required methods only. It notes the calls that it gets.
type bare struct {
	header http.Header
	told   *[]string
}

func (b *bare) note(format string, args ...any) {
	if b.told != nil {
		*b.told = append(*b.told, fmt.Sprintf(format, args...))
	}
}

func (b *bare) Header() http.Header         { return b.header }
func (b *bare) WriteHeader(status int)      { b.note("status %d", status) }
func (b *bare) Write(p []byte) (int, error) { b.note("write %s", p); return len(p), nil }

// full is a writer with all methods of net/http's.
type full struct {
	bare
	hijacked error
}

func (f *full) FlushError() error { f.note("flush"); return nil }

func (f *full) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	f.note("hijack")
	return nil, nil, f.hijacked
}

func (f *full) ReadFrom(r io.Reader) (int64, error) {
	data, err := io.ReadAll(r)
	f.note("read %s", data)
	return int64(len(data)), err
}

// fake is a session that notes its calls in the same list as its writer.
type fake struct {
	r         *http.Request
	told      *[]string
	failing   error // of Commit and Hijack
	holding   bool
	committed bool // by another writer
	send      func()
}

var errRefused = errors.New("refused")

func newRequest(method string) *fake {
	return &fake{r: httptest.NewRequest(method, "/", nil), told: new([]string)}
}

func (f *fake) note(format string, args ...any) {
	*f.told = append(*f.told, fmt.Sprintf(format, args...))
}

func (f *fake) Request() *http.Request { return f.r }
func (f *fake) Committed() bool        { return f.committed }
func (f *fake) Holds() bool            { return f.holding && f.send == nil }
func (f *fake) OnFinish(send func())   { f.send = send }

func (f *fake) Commit(status int, h http.Header) error {
	f.note("commit %d", status)
	h.Set("Set-Cookie", "a=b")
	return f.failing
}

func (f *fake) Hijack() error {
	f.note("commit hijack")
	return f.failing
}

func (f *fake) GoneAround(status int) error {
	f.note("around %d", status)
	return nil
}

func (f *fake) Refuse(w http.ResponseWriter, failed error) error {
	f.note("refuse %v", failed)
	w.WriteHeader(http.StatusServiceUnavailable)
	return errRefused
}

// newFull returns a writer of the session over one that has everything.
func newFull(f *fake) (*Writer, http.ResponseWriter, *full) {
	out := &full{bare: bare{http.Header{}, f.told}}
	w := new(Writer)
	return w, w.Wrap(out, f), out
}

// TestCommitComesFirst: whichever method writes the response, the session is committed
// once, before the first byte.
func TestCommitComesFirst(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(w http.ResponseWriter)
		want  []string
	}{
		{"nothing", func(http.ResponseWriter) {}, []string{"commit 200"}},
		{"Write", func(w http.ResponseWriter) { w.Write([]byte("x")); w.Write([]byte("y")) }, []string{"commit 200", "status 200", "write x", "write y"}},
		{"WriteString", func(w http.ResponseWriter) { io.WriteString(w, "x") }, []string{"commit 200", "status 200", "write x"}},
		{"WriteHeader", func(w http.ResponseWriter) { w.WriteHeader(404); w.Write([]byte("x")) }, []string{"commit 404", "status 404", "write x"}},
		{"ReadFrom", func(w http.ResponseWriter) { w.(io.ReaderFrom).ReadFrom(strings.NewReader("x")) }, []string{"commit 200", "status 200", "read x"}},
		{"Flush", func(w http.ResponseWriter) { w.(http.Flusher).Flush() }, []string{"commit 200", "status 200", "flush"}},
		{"103", func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(204) }, []string{"status 103", "commit 204", "status 204"}},
		{"101", func(w http.ResponseWriter) { w.WriteHeader(101) }, []string{"commit 101", "status 101"}},
		{"Hijack", func(w http.ResponseWriter) { w.(http.Hijacker).Hijack() }, []string{"commit hijack", "hijack"}},
		{"Hijack of what has begun", func(w http.ResponseWriter) { w.WriteHeader(200); w.(http.Hijacker).Hijack() }, []string{"commit 200", "status 200", "hijack"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newRequest("GET")
			w, out, _ := newFull(s)
			c.write(out)
			if err := w.Done(); err != nil || !w.Begun() || !slices.Equal(*s.told, c.want) {
				t.Errorf("got %q, %v, want %q", *s.told, err, c.want)
			}
		})
	}
}

// TestFailedCommitIsTheAnswer: nothing of the handler's response follows the answer to a
// commit that failed.
func TestFailedCommitIsTheAnswer(t *testing.T) {
	for name, write := range map[string]func(w http.ResponseWriter) error{
		"nothing":     func(http.ResponseWriter) error { return errRefused },
		"Write":       func(w http.ResponseWriter) error { _, err := w.Write([]byte("x")); return err },
		"WriteString": func(w http.ResponseWriter) error { _, err := io.WriteString(w, "x"); return err },
		"WriteHeader": func(w http.ResponseWriter) error { w.WriteHeader(200); w.WriteHeader(103); return errRefused },
		"ReadFrom": func(w http.ResponseWriter) error {
			_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("x"))
			return err
		},
		"FlushError": func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() },
		"Hijack behind it": func(w http.ResponseWriter) error {
			w.WriteHeader(200)
			_, _, err := w.(http.Hijacker).Hijack()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRequest("GET")
			s.failing = errors.New("no store")
			w, out, _ := newFull(s)
			err := write(out)
			want := []string{"commit 200", "refuse no store", "status 503"}
			if done := w.Done(); !errors.Is(err, errRefused) || !errors.Is(done, errRefused) || w.Begun() || !slices.Equal(*s.told, want) {
				t.Errorf("got %q, %v and %v, want %q and the refusal", *s.told, err, done, want)
			}
		})
	}
}

func TestHijackThatIsRefusedLeavesTheResponse(t *testing.T) {
	s := newRequest("GET")
	s.failing = errors.New("a cookie is due")
	_, out, _ := newFull(s)
	if _, _, err := out.(http.Hijacker).Hijack(); err != s.failing {
		t.Errorf("Hijack: %v, want %v", err, s.failing)
	}
	s.failing = nil
	io.WriteString(out, "x")
	if want := []string{"commit hijack", "commit 200", "status 200", "write x"}; !slices.Equal(*s.told, want) {
		t.Errorf("got %q, want %q", *s.told, want)
	}
}

// TestHeldResponse: a response that has to be sent before other work is held while it is
// short, and then sent with a Content-Length.
func TestHeldResponse(t *testing.T) {
	long := strings.Repeat("x", maxHeld+1)
	for _, c := range []struct {
		name   string
		method string
		write  func(w http.ResponseWriter)
		want   []string // until the handler has returned
		sent   []string // by the session after that
		length string
	}{
		{"short", "GET", func(w http.ResponseWriter) { io.WriteString(w, "a"); w.Write([]byte("b")) },
			nil, []string{"status 200", "write ab", "flush"}, "2"},
		{"status alone", "GET", func(w http.ResponseWriter) { w.WriteHeader(303) },
			nil, []string{"status 303", "flush"}, "0"},
		{"nothing", "GET", func(http.ResponseWriter) {},
			nil, []string{"status 200", "flush"}, "0"},
		{"204", "GET", func(w http.ResponseWriter) { w.WriteHeader(204) },
			nil, []string{"status 204", "flush"}, ""},
		{"HEAD", "HEAD", func(w http.ResponseWriter) { w.WriteHeader(200) },
			nil, []string{"status 200", "flush"}, ""},
		{"long", "GET", func(w http.ResponseWriter) { io.WriteString(w, "a"); io.WriteString(w, long) },
			[]string{"status 200", "write a", "write " + long}, []string{"flush"}, ""},
		{"read", "GET", func(w http.ResponseWriter) { w.(io.ReaderFrom).ReadFrom(strings.NewReader("a")) },
			nil, []string{"status 200", "write a", "flush"}, "1"},
		{"flushed", "GET", func(w http.ResponseWriter) { io.WriteString(w, "a"); w.(http.Flusher).Flush() },
			[]string{"status 200", "write a", "flush"}, []string{"flush"}, ""},
		{"hijacked", "GET", func(w http.ResponseWriter) { io.WriteString(w, "a"); w.(http.Hijacker).Hijack() },
			[]string{"status 200", "write a", "hijack"}, []string{"flush"}, ""},
		{"with a length", "GET", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1")
			io.WriteString(w, "a")
		}, []string{"status 200", "write a"}, []string{"flush"}, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newRequest(c.method)
			s.holding = true
			w, out, inner := newFull(s)
			c.write(out)
			if err := w.Done(); err != nil {
				t.Fatal(err)
			}
			got := slices.Clone((*s.told)[1:]) // behind the commit
			if !slices.Equal(got, c.want) {
				t.Errorf("the handler has returned: got %q, want %q", got, c.want)
			}
			*s.told = nil
			s.send()
			if !slices.Equal(*s.told, c.sent) || inner.header.Get("Content-Length") != c.length {
				t.Errorf("sent %q with length %q, want %q and %q", *s.told, inner.header.Get("Content-Length"), c.sent, c.length)
			}
		})
	}
}

// recorder is the writer of a framework that knows the status, and whether it was sent.
type recorder struct {
	bare
	status  int
	written bool
}

func (r *recorder) Status() int   { return r.status }
func (r *recorder) Written() bool { return r.written }

func TestDoneGoesByTheFramework(t *testing.T) {
	for _, c := range []struct {
		name      string
		written   bool
		committed bool
		want      []string
	}{
		{"a status that will be sent", false, false, []string{"commit 404"}},
		{"a response sent around the writer", true, false, []string{"around 404"}},
		{"a response of another writer", true, true, []string{"commit 404"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newRequest("GET")
			s.committed = c.committed
			var w Writer
			w.Wrap(&recorder{bare{http.Header{}, s.told}, 404, c.written}, s)
			if err := w.Done(); err != nil || !slices.Equal(*s.told, c.want) {
				t.Errorf("got %q, %v, want %q", *s.told, err, c.want)
			}
		})
	}
}

func TestClosedWriterPassesNothingOn(t *testing.T) {
	s := newRequest("GET")
	w, out, _ := newFull(s)
	http.Error(out, "no", 500)
	sent := len(*s.told)
	w.Close(errRefused)
	out.WriteHeader(200)
	if _, err := io.WriteString(out, "more"); !errors.Is(err, errRefused) || len(*s.told) != sent {
		t.Errorf("%v, passed on %q", err, (*s.told)[sent:])
	}
}

// TestWriterAllocatesNothing: the writer costs a request no allocation of its own.
func TestWriterAllocatesNothing(t *testing.T) {
	s := &fake{r: httptest.NewRequest("GET", "/", nil), told: new([]string)}
	out := &full{bare: bare{header: http.Header{}}}
	quiet := quietSession{s}
	w := new(Writer)
	if n := testing.AllocsPerRun(100, func() {
		*w = Writer{}
		w.Wrap(out, quiet).WriteHeader(200)
		_ = w.Done()
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

type quietSession struct{ *fake }

func (quietSession) Commit(int, http.Header) error { return nil }
