// Package sessiontest holds what tests of sessions share: a browser that keeps cookies, a
// plain middleware, a reference in which the value rules are written a second time, and
// the races that every adapter and topology must survive.
package sessiontest
