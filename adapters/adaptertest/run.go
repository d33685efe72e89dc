package adaptertest

import (
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
)

// cases are the table; why is printed when one fails.
var cases = []struct {
	name, why string
	run       func(t *testing.T, k kit, srv *redistest.Server)
}{
	{"the response begins",
		"saved ahead of the first byte, however the handler comes to write it: later no cookie can be sent and no failure told",
		beginnings},
	{"the response begins within a wrapper",
		"what measures or compresses responses wraps the writer, and the wrapper may not be gone around",
		beginningsWithin},
	{"server errors saved", "the site may want to keep what a failed request did", beginningsSaved},
	{"the response to a login begins",
		"what is held until it can be sent has to arrive as it would have otherwise",
		loginsBegin},
	{"session ended meanwhile", "a change of a session that is over was not made, and must not begin another", ended},
	{"deadline passed", "a handler that is late has done its work all the same, and its answer has to be true", overdue},
	{"many at once", "frameworks use their contexts again: nothing of one request may be left for the next", many},
	{"a change after the first byte",
		"nobody could tell the visitor any more that it failed, so the handler has to learn",
		tooLate},
	{"answered inside an update",
		"an update's function is the program's: it may answer the client and use the session, and what it may not is an error",
		answeredInside},
	{"event stream",
		"a stream lives for hours: its header has to go out at once, and it has to see that its session ends",
		events},
	{"early hints", "a 1xx is not the response: no cookie goes with it, and changes are still possible", earlyHints},
	{"uploads",
		"net/http and loggers look at the request that the server made: a copy keeps uploaded files on disk for good",
		uploads},
	{"a request that uses its session for long",
		"a stream, a socket or an upload that lasts longer than a session lives unused must not log its user out",
		usedLong},
	{"client gone", "a client that leaves must not leave half of what its request did, nor goroutines", clientGone},
	{"hijack",
		"a connection that is taken over carries no header of ours: changes are saved ahead of it, and a new cookie can't be",
		hijacked},
	{"WebSocket", "an upgrade has to work behind sessions, with the user's identity, and not past a guard", webSocket},
	{"several cookies",
		"a dead cookie of our name, which browsers keep when attributes change and anybody can plant, must not lock a user out",
		severalCookies},
	{"the answer to a login is lost",
		"the browser still has the session that it had, and the user tries again",
		lostLogins},
	{"panic",
		"a request that died half-way must not have changed the session, and its login must not stay behind without a cookie",
		panics},
	{"http.ErrAbortHandler", "a handler that cuts the connection means it", aborted},
	{"HTTP/2", "many requests share a connection and a session: none may undo what another did", http2},
	{"store down while reading",
		"nobody knows whether the visitor is logged in: a guest's page, a login page or a removed cookie would be a lie",
		unreadable},
	{"store down while saving",
		"the visitor must not be told that all is well: a 503 in place of the handler's response, and the cookie as it was",
		unsaved},
	{"store silent", "a Redis that does not answer is waited for as long as the budget says", silent},
	{"limits without a store", "each policy says what is worse, to let all pass or none", limitsDown},
	{"what responses say of a limit",
		"clients slow down by these fields, also on errors, and a denied request has no effect but its answer",
		limited},
	{"limit and sessions in both orders", "either may be the outer one", orders},
	{"several limits", "each mounted limit charges and speaks for itself", several},
	{"what was reserved is settled",
		"what a request used is known when its handler is done, however it ends, and is booked once",
		settlements},
	{"only failures count", "a hundred parallel guesses at a limit of five are five guesses", guesses},
	{"limits per route",
		"a quota per route goes by the router's pattern, or a client gets one for each spelling of a path",
		routes},
	{"lists", "a client on a list is refused in the same words everywhere, or costs nothing, and nobody else does", lists},
	{"mistakes of the program that requests show",
		"a limit that never applies, or charges twice, is found out by its first request and not by an attacker",
		mistakes},
	{"sessions on a group, on a route", "only some of a site's handlers may need them", levels},
	{"sessions mounted twice", "one request is one session, one save and one cookie, however the routers are nested", twice},
	{"sessions around the framework", "a site of several frameworks has its sessions outside of them", outside},
	{"a request forwarded", "a login must not lose its cookie because the router is asked once more", forwarded},
	{"two managers", "customers and staff may not be taken for each other", twoManagers},
	{"guards of two managers", "a user of one kind is nobody to the other, even with the same id", guardsOfBoth},
	{"a manager's middleware forgotten", "a guard that has no session to ask must not ask another kind's", forgotten},
	{"managers nested", "a request has one session of each kind, however often the middlewares are mounted", nested},
	{"what the writer can do", "a wrapper that hides what the writer can do breaks handlers and libraries", abilities},
	{"guards", "a browser is led to the login page, a program told the status", guards},
	{"refusals", "an answer that differs by framework is one that clients have to learn twice", refusals},
	{"challenges", "a 401 without WWW-Authenticate is none, and one that a browser knows prompts for a password", challenges},
	{"refusals in the program's own words", "a program says once how it answers, whatever refuses", ownHandler},
	{"logout", "a logout has to end the session for all who hold its token, and a link must not log out", logout},
	{"logout everywhere",
		"who fears for an account wants all sessions over, and must neither keep a dead cookie nor be told so for nothing",
		logoutEverywhere},
	{"nothing to work with",
		"a program that ignored the error of a constructor learns of it when it starts, in the same words everywhere",
		nils},
	{"devices", "the list of sessions is the user's own, and no cache's", devices},
	{"cross-origin requests", "a session's cookie makes a request of another site look like the user's own", crossOrigin},
}

// Run runs the table with the framework, on a Redis server and on the embedded one. The
// package's TestMain has to call [Main], which fails if goroutines are left over.
func Run[M, H any](t *testing.T, f Framework[M, H]) {
	k := f.untyped()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			t.Cleanup(func() {
				if t.Failed() {
					t.Log("why: " + c.why)
				}
			})
			t.Run("single", func(t *testing.T) { c.run(t, k, redistest.Single(t)) })
			t.Run("embedded", func(t *testing.T) { c.run(t, k, redistest.Embedded(t)) })
		})
	}
}
