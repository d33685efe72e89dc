// Package request handles copies of requests, which middlewares make to add to the
// context, and chooses the form of an answer that suits the client.
package request

import "net/http"

// GiveBack copies the fields that a handler set in its copy of a request to the original.
// net/http removes the files of an upload by the MultipartForm of the request that it
// served. A logger around the router reads the Pattern. A form that was parsed can't be
// parsed again. GiveBack leaves the context, and all fields that nobody reads after a
// handler. It writes no field that did not change, since others may be reading the
// original.
func GiveBack(original, copied *http.Request) {
	if original.MultipartForm != copied.MultipartForm {
		original.MultipartForm = copied.MultipartForm
	}
	if original.Form == nil && copied.Form != nil {
		original.Form = copied.Form
	}
	if original.PostForm == nil && copied.PostForm != nil {
		original.PostForm = copied.PostForm
	}
	if original.Pattern != copied.Pattern {
		original.Pattern = copied.Pattern
	}
}
