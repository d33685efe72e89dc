package request

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
)

// Instead returns a writer that looks at the first bytes that are written with the given
// status and media type. If they are the body that a default handler sends, the answer
// goes out in their place; anything else passes as it is. So a framework's own error
// handler is asked, and its default answers as all the others do. done is for when the
// response is complete.
func Instead(w http.ResponseWriter, status int, mediaType string, body []byte, answer func(http.ResponseWriter)) (instead http.ResponseWriter, done func()) {
	i := &inPlaceOf{ResponseWriter: w, status: status, mediaType: mediaType, body: body, answer: answer}
	return i, i.pass
}

type inPlaceOf struct {
	http.ResponseWriter
	status    int
	mediaType string
	body      []byte
	answer    func(http.ResponseWriter)
	held      bool // the status, until there is a body
}

// WriteHeader holds the status where the body may be the expected one.
func (i *inPlaceOf) WriteHeader(status int) {
	if status == i.status && strings.HasPrefix(i.Header().Get("Content-Type"), i.mediaType) {
		i.held = true
		return
	}
	i.ResponseWriter.WriteHeader(status)
}

// Write answers in place of the expected body.
func (i *inPlaceOf) Write(b []byte) (int, error) {
	if i.held && i.expects(b) {
		i.held = false
		i.answer(i.ResponseWriter)
		return len(b), nil
	}
	i.pass()
	return i.ResponseWriter.Write(b)
}

// expects compares JSON whatever its spaces.
func (i *inPlaceOf) expects(b []byte) bool {
	if bytes.Equal(b, i.body) {
		return true
	}
	var compact bytes.Buffer
	return json.Compact(&compact, b) == nil && bytes.Equal(compact.Bytes(), i.body)
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
