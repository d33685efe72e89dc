// Package request is about requests: the copies that middlewares make to add to the
// context, and how a client wants to be answered.
package request

import "net/http"

// GiveBack gives to the original what a handler made of its copy, as if there were no
// copy. net/http removes the files of an upload by the MultipartForm of the request that
// it served. A logger around the router reads the Pattern, and a form that was parsed
// can't be parsed again. The context and the fields that nobody reads after a handler
// stay as they are, and what did not change is not written: others may be reading the
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
