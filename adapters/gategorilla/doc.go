// Package gategorilla keeps the sessions of gorilla/sessions in Redis, as a
// sessions.Store:
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
//   - The cookie carries a session's id and nothing else: 256 random bits, drawn here and
//     never taken from a client. So there is nothing to sign or encrypt, and no key pairs
//     to keep. Redis holds a hash of the id.
//   - A session that was deleted (MaxAge < 0), renewed, or is over stays so: a request
//     that had read it before gets [session.ErrGone] from Save, and the cookie stays as
//     it is.
//   - [Store.Renew] gives a session a new id, which each login needs and gorilla has no
//     method for.
//   - A Redis that does not answer is an error of Get, and Save then refuses to write or
//     to set a cookie, so that a program which only logs the error of Get, as
//     gin-contrib/sessions does, logs nobody out.
//   - Every call ends within the budget of the blobs.
//
// # What the interface can't carry
//
// Parallel requests lose updates: all values of a session are written at once, and the
// last to write wins. The typed values of package session lose none. A session read by
// Get and not saved does not live longer; one that is saved lives for MaxAge from then
// on, with no absolute end.
//
// It is a module of its own, so that programs without gorilla don't get it into their
// go.sum.
package gategorilla
