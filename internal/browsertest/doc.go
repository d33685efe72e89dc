// Package browsertest holds what tests of sessions drive them with: a [Browser] that
// keeps cookies, a plain [Middleware], and [Random], which sends random requests and
// compares each answer with a reference in plain Go.
package browsertest
