package adaptertest

import (
	"bytes"
	"io"
	"net/http"

	"github.com/gatekit/gatekit/session"
)

// EchoContext has the methods to respond that the contexts of all versions of Echo share.
type EchoContext interface {
	String(status int, text string) error
	JSON(status int, v any) error
	NoContent(status int) error
	Redirect(status int, url string) error
	Blob(status int, contentType string, body []byte) error
	Stream(status int, contentType string, body io.Reader) error
}

// EchoAnswers are the ways to respond that all versions of Echo share. found is the
// adapter's function that finds the session.
func EchoAnswers[H ~func(C) error, C EchoContext](found func(C) (*session.Session, error), more ...Answer[H]) []Answer[H] {
	answer := func(name string, status int, body string, respond func(C) error) Answer[H] {
		return Marked(found, Answer[H]{name, status, body, respond})
	}
	for i := range more {
		more[i] = Marked(found, more[i])
	}
	return append(more,
		answer("String", 200, "body", func(c C) error { return c.String(200, "body") }),
		answer("JSON", 201, "{\"a\":1}\n", func(c C) error { return c.JSON(201, map[string]int{"a": 1}) }),
		answer("JSON that fails", 500, "*", func(c C) error { return c.JSON(200, make(chan int)) }),
		answer("NoContent", 204, "", func(c C) error { return c.NoContent(http.StatusNoContent) }),
		answer("NoContent of a 404", 404, "", func(c C) error { return c.NoContent(http.StatusNotFound) }),
		answer("Redirect", 303, "*", func(c C) error { return c.Redirect(http.StatusSeeOther, "/there") }),
		answer("Blob", 200, "body", func(c C) error { return c.Blob(200, "text/plain", []byte("body")) }),
		answer("Stream", 200, string(large), func(c C) error { return c.Stream(200, "text/plain", bytes.NewReader(large)) }),
	)
}

// Marked returns the answer with a handler that calls [Mark] first.
func Marked[H ~func(C) error, C any](found func(C) (*session.Session, error), a Answer[H]) Answer[H] {
	respond := a.Handler
	a.Handler = func(c C) error {
		if err := Mark(found(c)); err != nil {
			return err
		}
		return respond(c)
	}
	return a
}
