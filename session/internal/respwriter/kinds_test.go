package respwriter

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
)

type (
	withFlush    struct{}
	withHijack   struct{}
	withReadFrom struct{}
	withPush     struct{}
)

func (withFlush) Flush()                                          {}
func (withHijack) Hijack() (net.Conn, *bufio.ReadWriter, error)   { return nil, nil, errors.New("taken") }
func (withReadFrom) ReadFrom(r io.Reader) (int64, error)          { return io.Copy(io.Discard, r) }
func (withPush) Push(target string, opts *http.PushOptions) error { return nil }

// thin is a foreign wrapper that offers Unwrap only.
type thin struct{ inner http.ResponseWriter }

func (w thin) Header() http.Header         { return w.inner.Header() }
func (w thin) WriteHeader(status int)      { w.inner.WriteHeader(status) }
func (w thin) Write(p []byte) (int, error) { return w.inner.Write(p) }
func (w thin) Unwrap() http.ResponseWriter { return w.inner }

func TestWrapperOffersWhatTheWriterHas(t *testing.T) {
	type rw = http.ResponseWriter
	b := func() *bare { return &bare{header: http.Header{}} }
	type f = withFlush
	type h = withHijack
	type r = withReadFrom
	type p = withPush
	for _, c := range []struct {
		inner rw
		has   string
	}{
		{b(), ""},
		{struct {
			rw
			f
		}{b(), f{}}, "F"},
		{struct {
			rw
			h
		}{b(), h{}}, "H"},
		{struct {
			rw
			r
		}{b(), r{}}, "R"},
		{struct {
			rw
			p
		}{b(), p{}}, "P"},
		{struct {
			rw
			f
			h
		}{b(), f{}, h{}}, "FH"},
		{struct {
			rw
			f
			r
		}{b(), f{}, r{}}, "FR"},
		{struct {
			rw
			f
			p
		}{b(), f{}, p{}}, "FP"},
		{struct {
			rw
			h
			r
		}{b(), h{}, r{}}, "HR"},
		{struct {
			rw
			h
			p
		}{b(), h{}, p{}}, "HP"},
		{struct {
			rw
			r
			p
		}{b(), r{}, p{}}, "RP"},
		{struct {
			rw
			f
			h
			r
		}{b(), f{}, h{}, r{}}, "FHR"},
		{struct {
			rw
			f
			h
			p
		}{b(), f{}, h{}, p{}}, "FHP"},
		{struct {
			rw
			f
			r
			p
		}{b(), f{}, r{}, p{}}, "FRP"},
		{struct {
			rw
			h
			r
			p
		}{b(), h{}, r{}, p{}}, "HRP"},
		{struct {
			rw
			f
			h
			r
			p
		}{b(), f{}, h{}, r{}, p{}}, "FHRP"},
		{thin{struct {
			rw
			f
			h
			r
		}{b(), f{}, h{}, r{}}}, "FH"}, // what a ResponseController would find
		{thin{b()}, ""},
	} {
		_, isThin := c.inner.(thin)
		t.Run(fmt.Sprintf("has %q, thin %v", c.has, isThin), func(t *testing.T) {
			var writer Writer
			w := writer.Wrap(c.inner, newRequest("GET"))
			got := ""
			for _, k := range []struct {
				letter string
				ok     bool
			}{
				{"F", is[http.Flusher](w)}, {"H", is[http.Hijacker](w)}, {"R", is[io.ReaderFrom](w)}, {"P", is[http.Pusher](w)},
			} {
				if k.ok {
					got += k.letter
				}
			}
			if got != c.has {
				t.Errorf("%T: wrapped it offers %q, want %q", c.inner, got, c.has)
			}
			if is[interface{ FlushError() error }](w) != is[http.Flusher](w) {
				t.Errorf("%T: FlushError without Flush, or the reverse", c.inner)
			}
			if u, ok := w.(interface{ Unwrap() http.ResponseWriter }); !ok || fmt.Sprintf("%T", u.Unwrap()) != fmt.Sprintf("%T", c.inner) {
				t.Errorf("%T: no Unwrap", c.inner)
			}
			if err := writer.Done(); err != nil {
				t.Errorf("%T: %v", c.inner, err)
			}
		})
	}
}

func is[T any](v any) bool { _, ok := v.(T); return ok }
