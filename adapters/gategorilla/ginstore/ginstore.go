// Package ginstore keeps the sessions of gin-contrib/sessions in Redis:
//
//	store, err := ginstore.New(blobs, gategorilla.Options{}) // blobs is a *blob.Store
//	...
//	router.Use(sessions.Sessions("id", store))
//
// What it guarantees is written in package gategorilla, whose [gategorilla.Store] it is,
// with the one method more that gin-contrib asks for.
//
// gin-contrib/sessions logs the error of a session that could not be read and hands out
// an empty one. A program that does not want to treat its users as strangers meanwhile
// can ask: [Err].
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

// Options replaces the attributes of new sessions' cookies. Not to be called while
// requests run. All of them are replaced: a field that is left out is off, HttpOnly and
// Secure included. With MaxAge 0 the cookie ends with the browser.
func (s *Store) Options(options sessions.Options) {
	s.Store.Options = options.ToGorillaOptions()
}

// Renew gives the session of a cookie name a new id, see [gategorilla.Store.Renew]; call
// it in each login, in place of Session.Save, once all values are set.
func (s *Store) Renew(c *gin.Context, name string) error {
	return s.Store.Renew(c.Request, c.Writer, name)
}

// Err returns why the session of a cookie name could not be read in this request,
// [session.ErrUnavailable] for example; nil if it could.
func (s *Store) Err(c *gin.Context, name string) error {
	_, err := s.Get(c.Request, name)
	return err
}
