package adaptertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// uploads: a file that is too large for memory lies in the temporary directory only while
// the request lasts. The other fields that a handler sets in its request are found in the
// request that the framework got.
func uploads(t *testing.T, k kit, srv *redistest.Server) {
	client := srv.Client(t)
	for name, use := range map[string]func(*world) []layer{
		"neither":               func(*world) []layer { return nil },
		"sessions":              func(w *world) []layer { return w.use },
		"limit":                 func(w *world) []layer { return []layer{w.limit("uploads", 99)} },
		"sessions, then limit":  func(w *world) []layer { return append(w.use, w.limit("uploads", 99)) },
		"limit, then sessions":  func(w *world) []layer { return append([]layer{w.limit("uploads", 99)}, w.use...) },
		"sessions and recovery": func(w *world) []layer { return append([]layer{k.recover()}, w.use...) },
	} {
		w := newWorld(t, k, client)
		w.use = use(w)
		w.part(name, func(t *testing.T) { uploadsOnce(t, w, name == "sessions and recovery") })
	}
}

func uploadsOnce(t *testing.T, w *world, panics bool) {
	var outer *http.Request
	w.within = func(r *http.Request) *http.Request { outer = r; return r }
	var file, pattern string
	w.on("POST", "/upload/{id}", func(_ http.ResponseWriter, r *http.Request) error {
		if s, err := session.From(r.Context()); err == nil {
			if err := color.Set(s, "red"); err != nil {
				return err
			}
		}
		parsed := r.ParseMultipartForm(1)
		pattern = r.Pattern
		f, _, err := r.FormFile("file")
		if err = errors.Join(parsed, err); err != nil {
			return err
		}
		onDisk, ok := f.(*os.File)
		if !ok {
			return fmt.Errorf("the file is a %T, want one on disk", f)
		}
		if file = onDisk.Name(); panics {
			_ = f.Close()
			panic("on purpose")
		}
		return f.Close()
	})
	w.start()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "x.bin")
	if err == nil {
		_, err = part.Write(bytes.Repeat([]byte{'x'}, 11<<20)) // ParseMultipartForm keeps 10 MB more than its argument
	}
	if err = errors.Join(err, form.WriteField("field", "value"), form.Close()); err != nil {
		t.Fatal(err)
	}
	v := w.visitor()
	r := v.request(t.Context(), "POST", "/upload/7", "Content-Type", form.FormDataContentType())
	r.Body = io.NopCloser(&body)
	a, err := v.try(r)
	if err != nil {
		t.Fatal(err)
	}
	if status := map[bool]int{false: 200, true: 500}[panics]; a.status != status {
		t.Errorf("the upload: got %d %q, want %d", a.status, a.body, status)
	}
	w.server.Close() // net/http removes the files when the response is out
	if _, err := os.Stat(file); file == "" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file %q after the response: %v, want that it is gone", file, err)
		_ = os.Remove(file)
	}
	if outer.MultipartForm == nil || outer.FormValue("field") != "value" || outer.PostFormValue("field") != "value" {
		t.Errorf("the framework's request has the form %v, want the one that the handler parsed", outer.Form)
	}
	if outer.Pattern != pattern {
		t.Errorf("the framework's request has the pattern %q, the handler's %q", outer.Pattern, pattern)
	}
}
