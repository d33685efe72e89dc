// Package session knows who a visitor is: logins and guests, in Redis, for services of
// one process or of many.
//
//	var Cart = session.NewKey[[]string]("cart")
//
//	kv, err := gatekit.Connect(ctx, os.Getenv("REDIS_URL"), gatekit.Options{}) // or gatekit.Open, on a go-redis client
//	m, err := session.New(kv, session.Options{})
//	http.ListenAndServeTLS(addr, cert, key, gatehttp.Sessions(m)(mux))
//
//	func add(w http.ResponseWriter, r *http.Request) {
//		s, err := session.From(r.Context()) // reads the session, once a request
//		if err != nil {
//			m.Refuse(w, r, err) // 503 when Redis did not answer
//			return
//		}
//		items, err := Cart.Get(s)
//		...
//		err = Cart.Set(s, append(items, r.FormValue("item"))) // written ahead of the first byte of the response
//	}
//
//	err := s.Login(ctx, user.ID, session.LoginOptions{}) // after the password was checked
//	err := s.Logout(ctx)
//
// Most programs need [New], [From], [NewKey] and [Session.Login]. The middleware is in
// the adapters (adapters/gatehttp and others), and so are the guards, of which
// RequireLogin is the one that most programs need. [From] gives a handler its [Session];
// values are read and written by typed keys ([NewKey]) and counters ([NewCounter]).
//
// # What holds
//
//   - Logged out stays logged out. No request that was under way during a logout, a
//     revocation or an expiry brings a session back: a record is made in one place, under
//     a name that is never used twice.
//   - Parallel requests lose nothing: only what was changed is written, counters add up
//     in Redis, [Key.Update] compares.
//   - A login, an elevation and a logout change the token. Tokens that clients chose are
//     never adopted.
//   - Redis holds hashes of tokens only. Logs, errors, events and what prints a [Session]
//     carry the public id.
//   - Deadlines are Redis's clock's, and hold on reading and on writing. No deadline
//     moves past the absolute one.
//   - All of a user's sessions lie in one slot of a cluster, with the list of them. The
//     list, the cap ([Options.Cap]) and revoking are exact; [Manager.RevokeUser] and
//     [Manager.RevokeAll] hold from their first command on.
//   - A request that does not use its session costs no command and sets no cookie; one
//     that reads costs one, one that writes two round trips.
//   - A Redis that does not answer is an error and never "logged out": nothing is minted,
//     removed or overwritten then.
//   - The cookie is set ahead of the first byte, however the handler writes it, streams
//     and hijacked connections included.
//
// # What to know
//
// A token's secret part is replaced at login and elevation, and with [Lifetime.Rotate]
// from time to time. The old one is good until the new one is used, and 10 s longer for
// requests under way; after that it is a replay, which ends the session and tells
// [Manager.Watch], since two parties hold it. So a copied cookie is noticed unless both
// copies are used within 10 s of each other around every rotation. A response that is
// lost costs nothing.
//
// A program that comes from another kit logs nobody out: see [Options.Legacy].
//
// Pass [Session.Login] an internal id that never changes: the user's sessions are found
// by it. Redis knows ids, addresses and user agents in the clear, in records, not in key
// names; values may be encrypted, see [Encrypt].
//
// Reading takes a session as it was when the request first asked for it: what others
// change meanwhile is seen after [Session.Reload]. Revocation of a single session ends
// requests under way at their next write, not in the middle.
//
// Redis must not evict (maxmemory-policy noeviction), or visitors are logged out at
// random. Values over 64 bytes triple the memory of a record unless
// hash-max-listpack-value is raised, to 512 for example. What a failover loses is lost: a
// logout, too, if it was the last thing that the old master did.
package session
