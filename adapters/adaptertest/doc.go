// Package adaptertest is the table of HTTP exchanges that every adapter passes: over TCP,
// with a client that keeps cookies, against a real Redis. An adapter, of the kit or of
// somebody else, runs it with a [Framework] that says how its framework mounts
// middlewares and handlers:
//
//	func TestMain(m *testing.M) { redistest.Main(m) } // looks for goroutines that are left over
//
//	func TestConformance(t *testing.T) {
//		adaptertest.Run(t, adaptertest.Framework[gin.HandlerFunc, gin.HandlerFunc]{Sessions: gategin.Sessions, ...})
//	}
//
// What it holds an adapter to:
//
//   - A session's changes are saved ahead of the first byte, however the handler begins
//     its response, also by nothing at all, and one cookie goes out with it. A response
//     of 500 or more, a panic and a store that fails save nothing and send no cookie.
//   - What is saved can be answered for: a change after the first byte is refused, one
//     that could not be saved is a 503.
//   - Whatever the writer could do without the middlewares it can do with them: flush,
//     stream, hijack, upgrade, 1xx.
//   - A limit charges a request once for each time it is mounted, ahead of the handler,
//     and tells so in the header.
//   - Guards tell "nobody is logged in" from "nobody knows".
//   - Middlewares work on the router, on a group and on a route, in any order, and more
//     than once.
//
// A case that fails prints why it is there.
package adaptertest
