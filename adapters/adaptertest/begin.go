package adaptertest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// ways are the ways in which a handler, or a function that it calls, begins the response.
var ways = []struct {
	name    string
	respond Handler
	status  int
	body    string
}{
	{"nothing is written", func(http.ResponseWriter, *http.Request) error { return nil }, 200, ""},
	{"Write", func(w http.ResponseWriter, _ *http.Request) error { return second(w.Write([]byte("body"))) }, 200, "body"},
	{"Write of no bytes", func(w http.ResponseWriter, _ *http.Request) error { return second(w.Write(nil)) }, 200, ""},
	{"WriteString", func(w http.ResponseWriter, _ *http.Request) error {
		if sw, ok := w.(io.StringWriter); ok {
			return second(sw.WriteString("body"))
		}
		return second(io.WriteString(w, "body"))
	}, 200, "body"},
	{"io.Copy", func(w http.ResponseWriter, _ *http.Request) error {
		return second(io.Copy(w, io.LimitReader(strings.NewReader("body and more"), 4)))
	}, 200, "body"},
	{"ReadFrom of a large body", func(w http.ResponseWriter, _ *http.Request) error {
		return second(io.Copy(w, struct{ io.Reader }{bytes.NewReader(large)}))
	}, 200, string(large)},
	{"WriteHeader", func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(202); return nil }, 202, ""},
	{"WriteHeader and Write", func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(201)
		return second(io.WriteString(w, "body"))
	}, 201, "body"},
	{"204", func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(204); return nil }, 204, ""},
	{"304", func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(304); return nil }, 304, ""},
	{"Flush first", func(w http.ResponseWriter, _ *http.Request) error {
		w.(http.Flusher).Flush()
		return second(io.WriteString(w, "body"))
	}, 200, "body"},
	{"Flush and nothing else", func(w http.ResponseWriter, _ *http.Request) error {
		w.(http.Flusher).Flush()
		return nil
	}, 200, ""},
	{"Flush by a ResponseController", func(w http.ResponseWriter, _ *http.Request) error {
		err := http.NewResponseController(w).Flush()
		return errors.Join(err, second(io.WriteString(w, "body")))
	}, 200, "body"},
	{"Flush through a foreign wrapper", func(w http.ResponseWriter, _ *http.Request) error {
		err := http.NewResponseController(thin{w}).Flush()
		return errors.Join(err, second(io.WriteString(thin{w}, "body")))
	}, 200, "body"},
	{"ServeContent", func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "x.txt", time.Unix(1, 0), strings.NewReader("body"))
		return nil
	}, 200, "body"},
	{"a redirect", func(w http.ResponseWriter, r *http.Request) error {
		http.Redirect(w, r, "/there", http.StatusSeeOther)
		return nil
	}, 303, "*"},
	{"an error page of 400", failing(400), 400, "page\n"},
	{"an error page of 499", failing(499), 499, "page\n"},
	{"an error page of 500", failing(500), 500, "page\n"},
	{"an error page of 503", failing(503), 503, "page\n"},
	{"an error returned", func(http.ResponseWriter, *http.Request) error { return errors.New("on purpose") }, 500, "*"},
	{"an error returned after the body", func(w http.ResponseWriter, _ *http.Request) error {
		return errors.Join(second(io.WriteString(w, "body")), http.NewResponseController(w).Flush(), errors.New("on purpose"))
	}, 200, "*"},
}

// thin is a writer like those of other middlewares: it has the required methods, and
// Unwrap.
type thin struct{ inner http.ResponseWriter }

func (w thin) Header() http.Header         { return w.inner.Header() }
func (w thin) WriteHeader(status int)      { w.inner.WriteHeader(status) }
func (w thin) Write(b []byte) (int, error) { return w.inner.Write(b) }
func (w thin) Unwrap() http.ResponseWriter { return w.inner }

// large is larger than any buffer on the way.
var large = bytes.Repeat([]byte("0123456789abcdef"), 1<<14)

func second[T any](_ T, err error) error { return err }

func failing(status int) Handler {
	return func(w http.ResponseWriter, _ *http.Request) error { http.Error(w, "page", status); return nil }
}

// beginnings: every way to begin a response, the framework's own ones too.
func beginnings(t *testing.T, k kit, srv *redistest.Server) {
	newWorld(t, k, srv.Client(t)).beginnings()
}

// beginningsWithin: the same, with a middleware around the framework that wraps its
// writer.
func beginningsWithin(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	w.around = func(rw http.ResponseWriter) http.ResponseWriter { return thin{rw} }
	w.kit.answers = nil // the framework may need more methods
	w.beginnings()
}

// beginningsSaved: the same, with a manager that saves server errors too.
func beginningsSaved(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t), func(c *settings) { c.SaveOnServerError = true })
	w.dropsFrom = 600
	w.beginnings()
}

func (w *world) beginnings() {
	for i, way := range ways {
		w.on("GET", "/way/"+strconv.Itoa(i), func(rw http.ResponseWriter, r *http.Request) error {
			if err := Mark(session.From(r.Context())); err != nil {
				return err
			}
			return way.respond(rw, r)
		})
	}
	for i, a := range w.kit.answers {
		w.mount("GET", "/answer/"+strconv.Itoa(i), a.Handler)
	}
	w.start()
	for i, way := range ways {
		w.begins(way.name, "/way/"+strconv.Itoa(i), way.status, way.body)
	}
	for i, a := range w.kit.answers {
		w.begins(a.Name, "/answer/"+strconv.Itoa(i), a.Status, a.Body)
	}
}

// begins checks a response whose handler marked the session before it.
func (w *world) begins(name, path string, status int, body string) {
	sent, guest, blue := 1, "red", "red"
	if status >= w.dropsFrom {
		sent, guest, blue = 0, "", "blue"
	}
	for _, method := range []string{"GET", "HEAD"} {
		if method == "HEAD" {
			body = ""
		}
		w.part(name+"/"+method, func(t *testing.T) {
			v := w.visitor()
			v.do(method, path).wants(t, status, body).cookies(t, sent).has(t, "Vary", "Cookie")
			v.sees(t, "", guest)
			v = w.regular()
			v.do(method, path).wants(t, status, body).cookies(t, 0).has(t, "Vary", "Cookie")
			v.sees(t, "", blue)
		})
	}
}

// loginsBegin: a login replaces a visitor's session. The manager holds its response until
// that session may end. Only the cookie of the response that arrives may differ.
func loginsBegin(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	for i, way := range ways {
		w.on("GET", "/bare/"+strconv.Itoa(i), way.respond)
		w.on("GET", "/login/"+strconv.Itoa(i), func(rw http.ResponseWriter, r *http.Request) error {
			if err := login(r, "alice"); err != nil {
				return err
			}
			return way.respond(rw, r)
		})
	}
	w.start()
	for i, way := range ways {
		for _, method := range []string{"GET", "HEAD"} {
			w.part(way.name+"/"+method, func(t *testing.T) {
				bare := w.visitor().do(method, "/bare/"+strconv.Itoa(i))
				for _, v := range []*visitor{w.regular(), w.member()} {
					a := v.do(method, "/login/"+strconv.Itoa(i)).wants(t, bare.status, bare.body).cookies(t, 1)
					for _, name := range []string{"Content-Length", "Content-Type", "Location", "Etag"} {
						a.has(t, name, bare.header.Get(name))
					}
					v.do("GET", "/value").wants(t, 200, "*")
				}
			})
		}
	}
}
