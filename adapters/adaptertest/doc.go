// Package adaptertest is the table of HTTP exchanges that every adapter passes: over TCP,
// with a client that keeps cookies, against a real Redis. An adapter of this kit or of
// another author calls [Run] with a [Framework], which says how its framework mounts
// middlewares and handlers:
//
//	func TestMain(m *testing.M) { adaptertest.Main(m) } // fails if goroutines are left over
//
//	func TestConformance(t *testing.T) {
//		adaptertest.Run(t, adaptertest.Framework[gin.HandlerFunc, gin.HandlerFunc]{Sessions: gategin.Sessions, ...})
//	}
//
// Most adapters need four names: [Run], [Framework], [Answer] and [Main]. The table
// checks these promises:
//
//   - The adapter saves a session's changes before the first byte and sends one cookie,
//     however the handler begins its response, even if it writes nothing. A response of
//     500 or more, a panic and a store that fails save nothing and send no cookie.
//   - No change is lost in silence: a change after the first byte returns an error, and a
//     change that could not be saved makes the response a 503.
//   - The writer can do all that it could do without the middlewares: flush, stream,
//     hijack, upgrade, 1xx.
//   - A limit charges a request once for each time that it is mounted, before the
//     handler, and reports it in the header.
//   - Guards distinguish a visitor who is not logged in from a store that does not
//     answer.
//   - Middlewares work on the router, on a group and on a route, in any order, and more
//     than once.
//
// A case that fails prints why it is there.
package adaptertest
