// Package ginstore keeps the sessions of gin-contrib/sessions in Redis:
//
//	store, err := ginstore.New(blobs, gategorilla.Options{}) // blobs is a *blob.Store
//	...
//	router.Use(sessions.Sessions("id", store))
//
// [Store] is a [gategorilla.Store] with the one method more that gin-contrib asks for.
// Package gategorilla says what it guarantees.
//
// When a session could not be read, gin-contrib/sessions logs the error and hands out an
// empty session. [Store.Err] returns that error, so that a program can answer 503 instead
// of treating its users as strangers.
package ginstore

import (
	"github.com/gatekit/gatekit/adapters/gategorilla"
	"github.com/gatekit/gatekit/session/blob"
	"github.com/gin-contrib/sessions"
	"github.com/gin-gonic/gin"
)

// Store is a sessions.Store of gin-contrib. It is safe for concurrent use.
type Store struct{ *gategorilla.Store }

var _ sessions.Store = (*Store)(nil)

// New returns a store on the blobs. The errors are those of [gategorilla.New].
func New(blobs *blob.Store, opts gategorilla.Options) (*Store, error) {
	store, err := gategorilla.New(blobs, opts)
	if err != nil {
		return nil, err
	}
	return &Store{store}, nil
}

// Options replaces all attributes of new sessions' cookies: a field that is left out is
// off, HttpOnly and Secure included. With MaxAge 0 the cookie ends with the browser.
// Don't call it while requests run.
func (s *Store) Options(options sessions.Options) {
	s.Store.Options = options.ToGorillaOptions()
}

// Renew gives the session of a cookie name a new id, see [gategorilla.Store.Renew]. Call
// it in each login in place of Session.Save, after the last value is set.
func (s *Store) Renew(c *gin.Context, name string) error {
	return s.Store.Renew(c.Request, c.Writer, name)
}

// Err returns the error with which the session of a cookie name could not be read in this
// request, such as [session.ErrUnavailable]. It is nil if the session was read.
func (s *Store) Err(c *gin.Context, name string) error {
	_, err := s.Get(c.Request, name)
	return err
}
