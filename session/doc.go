// Package session keeps track of visitors: logins and guests, stored in Redis, for
// services of one process or of many.
//
// Most programs need six names. [New] makes the manager. [From] gives a handler the
// [Session] of its request. [NewKey] names a value in sessions, and the key reads and
// writes it. [Session.Login] and [Session.Logout] log a user in and out.
// [Manager.RequireLogin] guards a page. The middleware is in the adapters
// (adapters/gatehttp and others): Sessions reads and saves the sessions, and RequireLogin
// is the guard.
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
// Numbers that parallel requests add to are counters ([NewCounter]).
//
// # What holds
//
//   - Logged out stays logged out. No request that was under way during a logout, a
//     revocation or an expiry brings a session back: only a new session makes a record,
//     under a name that is never used twice.
//   - Parallel requests keep each other's changes: a request writes only the values that
//     it changed, Redis adds up the counters, and [Key.Update] compares before it writes.
//   - A login and an elevation change the token, and a logout ends it. The manager never
//     adopts a token that a client chose.
//   - Redis holds only hashes of tokens. Logs, errors, events and a printed [Session]
//     show the public id.
//   - Redis's clock measures all deadlines. They hold on reading and on writing. No
//     deadline moves past the absolute one.
//   - All sessions of a user lie in one slot of a cluster, together with the list of
//     them. The list, the cap ([Options.Cap]) and revocations are exact.
//     [Manager.RevokeUser] and [Manager.RevokeAll] take effect with their first command.
//   - A request that does not use its session sends no command and sets no cookie. A
//     request that reads sends one command. A request that writes takes two round trips.
//   - If Redis does not answer, a call returns an error and never "logged out". The
//     manager then makes no token, removes no cookie and overwrites no value.
//   - The cookie is set ahead of the first byte of the response, whichever method the
//     handler writes or flushes with. A hijacked connection can't carry a cookie: the
//     hijack is refused if one is due.
//
// # What to know
//
// A login makes a new token. An elevation replaces the secret part of the token, and so
// does [Lifetime.Rotate] from time to time. The old token stays good until the new one is
// used, and 10 s longer for requests under way. After that it is a replay: two parties
// hold the token, so the script ends the session and reports it to [Manager.Watch]. So a
// copied cookie is noticed unless both copies are used within 10 s of each other around
// every rotation. If a response is lost, the browser's old token still works.
//
// A program that changes from another kit to this one need not log anybody out: see
// [Options.Legacy].
//
// Pass [Session.Login] an internal id that never changes: the manager finds the user's
// sessions by it. Redis holds ids, addresses and user agents as plain text, in records,
// not in key names. [Encrypt] encrypts values.
//
// A request reads its session as it was when the request first asked for it. It sees what
// others change later after [Session.Reload]. If a single session is revoked, its
// requests under way end at their next write, not in the middle.
//
// Redis must not evict keys (set maxmemory-policy noeviction), or visitors are logged out
// at random. Values over 64 bytes triple the memory of a record unless
// hash-max-listpack-value is raised, to 512 for example. A failover may lose the last
// writes of the old master, a logout too.
package session
