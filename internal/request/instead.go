package request

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
)

// Instead returns a writer that checks the first bytes that are written with the given
// status and media type. If they are the body, which is what a framework's default error
// handler sends, the writer calls answer in their place. While body returns nil the
// writer waits for nothing: a handler that sends the status alone must not lose it.
// Anything else passes unchanged. So a framework's own error handler may answer, and its
// default sends the same as all other adapters. Call done when the response is complete.
func Instead(w http.ResponseWriter, status int, mediaType string, body func() []byte, answer func(http.ResponseWriter)) (instead http.ResponseWriter, done func()) {
	i := &inPlaceOf{ResponseWriter: w, status: status, mediaType: mediaType, body: body, answer: answer}
	return i, i.pass
}

type inPlaceOf struct {
	http.ResponseWriter
	status    int
	mediaType string
	body      func() []byte
	answer    func(http.ResponseWriter)
	held      bool // the status, until there is a body
}

// WriteHeader holds the status back if the body may be the expected one.
func (i *inPlaceOf) WriteHeader(status int) {
	if status == i.status && i.body() != nil && strings.HasPrefix(i.Header().Get("Content-Type"), i.mediaType) {
		i.held = true
		return
	}
	i.ResponseWriter.WriteHeader(status)
}

// Write calls answer in place of the expected body.
func (i *inPlaceOf) Write(b []byte) (int, error) {
	if i.held && i.expects(b) {
		i.held = false
		i.answer(i.ResponseWriter)
		return len(b), nil
	}
	i.pass()
	return i.ResponseWriter.Write(b)
}

// expects reports whether b is the expected body. Spaces in JSON do not matter.
func (i *inPlaceOf) expects(b []byte) bool {
	body := i.body()
	if bytes.Equal(b, body) {
		return true
	}
	var compact bytes.Buffer
	return json.Compact(&compact, b) == nil && bytes.Equal(compact.Bytes(), body)
}

func (i *inPlaceOf) pass() {
	if i.held {
		i.held = false
		i.ResponseWriter.WriteHeader(i.status)
	}
}

// FlushError sends the header.
func (i *inPlaceOf) FlushError() error {
	i.pass()
	return http.NewResponseController(i.ResponseWriter).Flush()
}

// Unwrap is for [http.ResponseController].
func (i *inPlaceOf) Unwrap() http.ResponseWriter { return i.ResponseWriter }
