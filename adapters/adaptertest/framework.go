package adaptertest

import (
	"net/http"
	"strings"
	"time"

	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
)

// A Handler is a handler of the table: one of net/http that also returns an error. The
// framework has to answer the error as it answers errors of its own handlers.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Framework says how the table uses a framework and its adapter. M is the framework's
// type for middlewares, H for handlers. A field is required unless its comment says
// otherwise.
type Framework[M, H any] struct {
	// The fields from Sessions to LogoutEverywhere are the adapter's own functions.
	// RateLimit is its MustRateLimit. It has to find the pattern of the matched route
	// wherever it is mounted.
	Sessions     func(*session.Manager) M
	RateLimit    func(*ratelimit.Limiter, ratelimit.GateOptions, ...ratelimit.Rule) M
	CrossOrigin  func(*http.CrossOriginProtection) M
	RequireLogin func(m *session.Manager, there string) M
	RequireFresh func(m *session.Manager, maxAge time.Duration, there string) M
	RequireLevel func(m *session.Manager, level int, there string) M
	Devices      func(*session.Manager) H
	Logout       func(m *session.Manager, there string) H

	LogoutEverywhere func(m *session.Manager, there string) H // also the adapter's

	// Recover returns the framework's middleware that answers 500 to a panic. It must not
	// write to a log that the test run shows.
	Recover func() M

	// Handler makes a handler of the framework that passes the framework's writer and
	// request to h. It returns h's error to the framework. If the framework's handlers
	// return no errors, it calls [session.Manager.Refuse] with the error.
	Handler func(m *session.Manager, h Handler) H

	// Beneath returns the writer to send a 1xx by, for a framework whose own writer would
	// take the 1xx for the response. Nil means the handler's own writer.
	Beneath func(http.ResponseWriter) http.ResponseWriter

	// Forward makes a handler that has the server answer the request as if it were for
	// the path there, with the framework's writer, by the framework's own call for that.
	// Nil means the server's ServeHTTP.
	Forward func(server func() http.Handler, there string) H

	// Answers are the framework's own ways to respond, besides the http.ResponseWriter.
	// There may be none.
	Answers []Answer[H]

	// Router returns a server with the middlewares use around everything, also around
	// requests that match no route; the first one is the outermost. group makes a group
	// with a prefix, which may be "", and middlewares around its routes; add adds a route
	// to the group. Paths have parameters in braces: see [Colons].
	Router func(use []M) (server http.Handler, group func(prefix string, use []M) (add Add[M, H]))
}

// Add adds a route to a group, with middlewares of its own.
type Add[M, H any] = func(method, path string, h H, use []M)

// An Answer is a handler written in the framework's own words. It calls [Mark] with the
// session that the adapter finds in the framework's context, and then responds.
type Answer[H any] struct {
	Name    string
	Status  int    // of the response
	Body    string // of the response to a GET; "*" is any
	Handler H
}

// NewAnswer is an Answer without the names of its fields.
func NewAnswer[H any](name string, status int, body string, h H) Answer[H] {
	return Answer[H]{Name: name, Status: status, Body: body, Handler: h}
}

// Unwrap returns the writer that w wraps, for [Framework.Beneath].
func Unwrap(w http.ResponseWriter) http.ResponseWriter {
	return w.(interface{ Unwrap() http.ResponseWriter }).Unwrap()
}

// Colons turns a path's {id} into :id.
func Colons(path string) string { return strings.NewReplacer("{", ":", "}", "").Replace(path) }

var color = session.NewKey[string]("color")

// Mark changes the session; each [Answer] calls it before its response. Its arguments are
// the results of the adapter's function that finds the session in the framework's
// context.
func Mark(s *session.Session, err error) error {
	if err != nil {
		return err
	}
	return color.Set(s, "red")
}

// layer is an M and endpoint an H, for code that ignores the types.
type (
	layer    any
	endpoint any
)

// group is a part of the router, and route one handler in it.
type (
	group struct {
		prefix string
		use    []layer
		routes []route
	}
	route struct {
		method, path string
		use          []layer
		handler      endpoint
	}
)

// kit is a Framework without its type parameters, so that the table needs no generic
// code.
type kit struct {
	sessions     func(*session.Manager) layer
	rateLimit    func(*ratelimit.Limiter, ratelimit.GateOptions, ...ratelimit.Rule) layer
	crossOrigin  func(*http.CrossOriginProtection) layer
	requireLogin func(*session.Manager, string) layer
	requireFresh func(*session.Manager, time.Duration, string) layer
	requireLevel func(*session.Manager, int, string) layer
	recover      func() layer
	devices      func(*session.Manager) endpoint
	logout       func(*session.Manager, string) endpoint
	everywhere   func(*session.Manager, string) endpoint
	handler      func(*session.Manager, Handler) endpoint
	forward      func(server func() http.Handler, there string) endpoint
	answers      []Answer[endpoint]

	beneath func(http.ResponseWriter) http.ResponseWriter
	router  func(use []layer, groups []group) http.Handler
}

func (f Framework[M, H]) untyped() kit {
	k := kit{
		sessions: func(m *session.Manager) layer { return f.Sessions(m) },
		rateLimit: func(l *ratelimit.Limiter, opts ratelimit.GateOptions, rules ...ratelimit.Rule) layer {
			return f.RateLimit(l, opts, rules...)
		},
		crossOrigin:  func(p *http.CrossOriginProtection) layer { return f.CrossOrigin(p) },
		requireLogin: func(m *session.Manager, there string) layer { return f.RequireLogin(m, there) },
		requireFresh: func(m *session.Manager, age time.Duration, there string) layer { return f.RequireFresh(m, age, there) },
		requireLevel: func(m *session.Manager, level int, there string) layer { return f.RequireLevel(m, level, there) },
		recover:      func() layer { return f.Recover() },
		devices:      func(m *session.Manager) endpoint { return f.Devices(m) },
		logout:       func(m *session.Manager, there string) endpoint { return f.Logout(m, there) },
		everywhere:   func(m *session.Manager, there string) endpoint { return f.LogoutEverywhere(m, there) },
		handler:      func(m *session.Manager, h Handler) endpoint { return f.Handler(m, h) },
		beneath:      f.Beneath,
	}
	if f.Forward != nil {
		k.forward = func(server func() http.Handler, there string) endpoint { return f.Forward(server, there) }
	}
	if k.beneath == nil {
		k.beneath = func(w http.ResponseWriter) http.ResponseWriter { return w }
	}
	for _, a := range f.Answers {
		k.answers = append(k.answers, Answer[endpoint]{a.Name, a.Status, a.Body, a.Handler})
	}
	k.router = func(use []layer, groups []group) http.Handler {
		server, in := f.Router(all[M](use))
		for _, g := range groups {
			add := in(g.prefix, all[M](g.use))
			for _, r := range g.routes {
				add(r.method, r.path, r.handler.(H), all[M](r.use))
			}
		}
		return server
	}
	return k
}

func all[M any](layers []layer) []M {
	typed := make([]M, len(layers))
	for i, l := range layers {
		typed[i] = l.(M)
	}
	return typed
}
