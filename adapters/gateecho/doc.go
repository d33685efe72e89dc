// Package gateecho puts the sessions of package session and the limits of package
// ratelimit before handlers of Echo v4. Package gateecho5 does so for Echo v5.
//
//	kv, err := gatekit.Connect(ctx, "redis://localhost:6379", gatekit.Options{})
//	manager, err := session.New(kv, session.Options{})
//	limiter, err := ratelimit.New(kv, ratelimit.Options{})
//
//	e := echo.New()
//	e.Use(middleware.RequestLogger(), middleware.Recover(), gateecho.MustRateLimit(limiter, ratelimit.GateOptions{}, perIP))
//	e.Use(gateecho.Sessions(manager), gateecho.CrossOrigin(nil))
//	e.POST("/login", login) // s, err := gateecho.Session(c); then s.Login(...)
//	e.POST("/logout", gateecho.Logout(manager, "/"))
//	e.GET("/devices", gateecho.Devices(manager))
//	e.GET("/account", account, gateecho.RequireLogin(manager, "/login"))
//
// The session is in the context of c.Request(), and so are the decisions of the limits
// ([ratelimit.FromContext]).
//
// # Errors
//
// A request that a guard or a limit refuses, or whose session could not be read, becomes
// an [echo.HTTPError] for Echo's HTTPErrorHandler. The header fields are already set. Its
// Internal is the [gatekit.Refusal], for [errors.As], and its Message the problem
// details. Where the default handler sends these, [gatekit.Refusal.Answer] does in its
// place, as application/problem+json, or as a line of text for a page that a browser
// shows. An ErrorHandler in [session.Options] or [ratelimit.GateOptions] answers ahead of
// Echo's. Redirects are answered at once, and so are commits that fail: see
// [session.Manager.Refuse]. A handler may return the errors of package session as they
// are; an HTTPError around one keeps its own code.
//
// Sessions calls the HTTPErrorHandler for an error of the handlers within, while the
// session can still be saved with the response, and returns the error to what is mounted
// outside, such as a logger. Echo then calls the HTTPErrorHandler once more, as it does
// behind other middlewares that answer errors: one of your own should begin like Echo's
// default and return when c.Response().Committed is set. One that does not cannot add to
// what was sent.
//
// # Where to mount
//
//   - Outside of Sessions: loggers, which then see the status of a commit that failed and
//     can still read the session from c.Request(); Gzip; limits that need no session.
//   - Inside: what buffers or replaces responses, such as Timeout (ContextTimeout may be
//     anywhere); limits by user.
//   - Recover on either side. A panic that passes Sessions drops the pending changes and
//     undoes a login. One that was recovered inside is an answer like any other: with
//     status 500 it drops the pending changes, and a login stands.
//   - BodyLimit and CORS on either side.
//
// # Limits per route
//
// A rule with PerRoute counts by c.Path(), the pattern, with all methods together.
// Requests that no route matches, or none with their method, are one route,
// [ratelimit.NoRoute]; what a handler of RouteNotFound takes, as Group.Use makes them, is
// a route of that handler's path. Ahead of routing, in Echo.Pre, no pattern is known:
// such a rule answers 500 there, and logs why.
//
// # The client's address
//
// [ratelimit.ByIP] takes the address of the connection, or that of a forwarded header
// from the proxies that it is told of. Don't build keys from c.RealIP(): unless
// Echo.IPExtractor is set it believes X-Forwarded-For and X-Real-IP of anybody.
package gateecho
