// Package gategorilla keeps the sessions of gorilla/sessions in Redis. Most programs need
// [New], and [Store.Renew] in each login. A program that comes from another store of
// gorilla has [FromBoj] and [FromRbcervilla]. [Store] is a sessions.Store:
//
//	store, err := gategorilla.New(blobs, gategorilla.Options{}) // blobs is a *blob.Store
//	...
//	s, err := store.Get(r, "id")
//	if err != nil {
//		http.Error(w, "try again", http.StatusServiceUnavailable) // nobody is logged out
//		return
//	}
//	s.Values["cart"] = items
//	err = s.Save(r, w)
//
// echo-contrib/session takes the [Store] as it is. For gin-contrib/sessions there is
// package ginstore below this one.
//
// # What it guarantees
//
//   - The cookie carries the session's id and nothing else: 256 random bits, which this
//     package draws and never takes from a client. So a program signs and encrypts
//     nothing, and keeps no key pairs. Redis holds a hash of the id.
//   - A session that was deleted (MaxAge < 0), renewed or expired stays so. A request
//     that had read it before gets [session.ErrGone] from Save, and its cookie stays as
//     it is.
//   - [Store.Renew] gives a session a new id. Each login needs that, and gorilla has no
//     method for it.
//   - When Redis does not answer, Get returns an error, and Save then refuses to write
//     and to set a cookie. So a program that only logs the error of Get, as
//     gin-contrib/sessions does, logs nobody out.
//   - Every call ends within the budget of the blobs.
//
// # What the interface can't carry
//
// Parallel requests lose updates: Save writes all values of a session at once, and the
// last to write wins. The typed values of package session lose none. Get does not prolong
// a session. Save does: the session lives for MaxAge from then on, with no absolute end.
//
// The package is a module of its own, so that programs without gorilla don't get gorilla
// into their go.sum.
package gategorilla
