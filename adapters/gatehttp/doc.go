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
// Most programs need four names: [Sessions], [CrossOrigin], [RequireLogin] and
// [MustRateLimit]. A handler gets its session by [Session].
//
// A limit adds the RateLimit fields to each response, whatever its status. When a limit
// or a guard refuses a request, the ErrorHandler of [ratelimit.GateOptions] or
// [session.Options] answers it. Without one, [gatekit.Refusal.Answer] sends a line of
// text to a browser that loads a page, and problem details to other clients. A limit
// passes the ResponseWriter on unchanged, so flushing, hijacking and the rest work as
// without it. The handler finds the decisions in the request's context
// ([ratelimit.FromContext]). A limit charges a request before its handler runs. The
// request stays charged when the handler panics or the client leaves.
//
// The handler gets a copy of the request, with more in its context. When the handler
// returns, the middleware copies its parsed forms and Pattern to the original request.
// net/http needs the forms to remove the files of an upload, and loggers read the
// Pattern. A chi router as the outermost handler copies the request too, but gives
// nothing back: there the handler has to call r.MultipartForm.RemoveAll itself.
//
// You may mount several limits one inside the other: each adds its items to the header
// fields.
//
// # Limits per route
//
// A rule with PerRoute counts by the pattern that the router matched. Only the handlers
// and middlewares that the router calls can see the pattern:
//
//   - [http.ServeMux]: wrap the handlers that are registered, as above, or the whole mux
//     with the Pattern of [ratelimit.GateOptions] set to [MuxPattern].
//   - chi: use With or Group, not Use on the outermost router: those middlewares run
//     before the route is known. Set Pattern to func(r *http.Request) string { return
//     chi.RouteContext(r.Context()).RoutePattern() }.
//   - gorilla/mux: use Router.Use and set Pattern to a function that returns
//     mux.CurrentRoute(r).GetPathTemplate().
//
// If no pattern is known, a rule with PerRoute answers 500 and logs why. It can't fall
// back to one quota for all routes, or to one for each spelling of a path: neither is a
// limit per route.
package gatehttp
