// Package gatehttp puts the sessions of package session and the limits of package
// ratelimit before net/http handlers, and so before those of chi and gorilla/mux.
//
//	site := gatehttp.Sessions(manager)(gatehttp.CrossOrigin(nil)(mux))
//
//	limit := gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{},
//		ratelimit.Rule{Policy: perIP, Key: ratelimit.MustByIP(ratelimit.IPOptions{})},
//		ratelimit.Rule{Policy: perAPIKey, Key: ratelimit.ByHeader("X-Api-Key")},
//	)
//	mux.Handle("GET /report", limit(report))
//
// Most programs need [Sessions], [RequireLogin] and [MustRateLimit].
//
// A response gets the RateLimit fields, whatever its status. A request that a limit or a
// guard refuses is answered by the ErrorHandler of [ratelimit.GateOptions] or
// [session.Options] or, without one, by [gatekit.Refusal.Answer]: problem details, or a
// line of text for a page that a browser shows. The handler gets the ResponseWriter as it
// is, so that flushing, hijacking and the rest work as without a limit, and finds the
// decisions in the request's context ([ratelimit.FromContext]). A request is charged
// before its handler runs, and stays charged when the handler panics or the client
// leaves.
//
// The handler's request is a copy, with more in its context. What the handler parses in
// it is given back to the original: net/http removes the files of an upload when it has
// served its own request, and loggers read its Pattern. A chi router that is the
// outermost handler copies the request too, and does not give back: there the handler has
// to call r.MultipartForm.RemoveAll itself.
//
// Several middlewares may stand behind each other: each adds its items to the header
// fields.
//
// # Limits per route
//
// A rule with PerRoute counts by the pattern that the router matched, and a router tells
// it only to what it calls:
//
//   - [http.ServeMux]: wrap the handlers that are registered, as above, or the whole mux
//     with the Pattern of [ratelimit.GateOptions] set to [MuxPattern].
//   - chi: use With or Group, not Use on the outermost router, whose middlewares run
//     before the route is known. Set Pattern to func(r *http.Request) string {
//     return chi.RouteContext(r.Context()).RoutePattern() }.
//   - gorilla/mux: use Router.Use and set Pattern to a function that returns
//     mux.CurrentRoute(r).GetPathTemplate().
//
// Where no pattern is known a rule with PerRoute answers 500 and logs why: with one quota
// for all routes, or one for each spelling of a path, it would not be the limit that was
// asked for.
package gatehttp
