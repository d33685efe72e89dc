// Package gateecho5 puts the sessions of package session and the limits of package
// ratelimit before handlers of Echo v5. Package gateecho does so for Echo v4.
//
//	kv, err := gatekit.Connect(ctx, "redis://localhost:6379", gatekit.Options{})
//	manager, err := session.New(kv, session.Options{})
//	limiter, err := ratelimit.New(kv, ratelimit.Options{})
//
//	e := echo.New()
//	e.Use(middleware.RequestLogger(), middleware.Recover(), gateecho5.MustRateLimit(limiter, ratelimit.GateOptions{}, perIP))
//	e.Use(gateecho5.Sessions(manager), gateecho5.CrossOrigin(nil))
//	e.POST("/login", login) // s, err := gateecho5.Session(c); then s.Login(...)
//	e.POST("/logout", gateecho5.Logout(manager, "/"))
//	e.GET("/devices", gateecho5.Devices(manager))
//	e.GET("/account", account, gateecho5.RequireLogin(manager, "/login"))
//
// The session is in the context of c.Request(), and so are the decisions of the limits
// ([ratelimit.FromContext]). Configs are [echo.MiddlewareConfigurator]s: ToMiddleware
// returns the errors for which the short forms panic.
//
// # Errors
//
// A request that a guard or a limit refuses, or whose session could not be read, becomes
// an error for Echo's HTTPErrorHandler, in which [errors.As] finds an [echo.HTTPError]
// and the [gatekit.Refusal]. The header fields are already set. Where the default handler
// sends the problem details, [gatekit.Refusal.Answer] does in its place, as
// application/problem+json, or as a line of text for a page that a browser shows;
// [echo.ProblemDetailsHTTPErrorHandler] sends them without the names of the policies. An
// ErrorHandler in [session.Options] or [ratelimit.GateOptions] answers ahead of Echo's.
// Redirects are answered at once, and so are commits that fail: see
// [session.Manager.Refuse]. A handler may return the errors of package session as they
// are; an error around one that has a StatusCode keeps it.
//
// Sessions calls the HTTPErrorHandler for an error of the handlers within, while the
// session can still be saved with the response, and returns the error to what is mounted
// outside, such as a logger. Echo then calls the HTTPErrorHandler once more: one of your
// own should begin like Echo's default and return when the response of
// [echo.UnwrapResponse] is Committed. One that does not cannot add to what was sent.
//
// # Where to mount
//
//   - Outside of Sessions: loggers, which can still read the session from c.Request();
//     Gzip; limits that need no session.
//   - Inside: what buffers or replaces responses (ContextTimeout may be anywhere); limits
//     by user.
//   - Recover on either side. A panic that passes Sessions drops the pending changes and
//     undoes a login. One that was recovered inside is an answer like any other: with
//     status 500 it drops the pending changes, and a login stands.
//   - BodyLimit and CORS on either side.
//
// # Limits per route
//
// A rule with PerRoute counts by the Path of c.RouteInfo(), the pattern, with all methods
// together. Requests that no route matches, or none with their method, are one route,
// [ratelimit.NoRoute]. Ahead of routing, in Echo.Pre, no pattern is known: such a rule
// answers 500 there and logs why.
//
// # The client's address
//
// [ratelimit.ByIP] takes the address of the connection, or that of a forwarded header
// from the proxies that it is told of. Don't build keys from c.RealIP() with an
// Echo.IPExtractor that believes headers of anybody, as LegacyIPExtractor does.
package gateecho5
