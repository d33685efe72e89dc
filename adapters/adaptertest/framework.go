package adaptertest

import (
	"net/http"
	"strings"
	"time"

	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
)

// A Handler is a handler of the table: as net/http has them, but for the error, which the
// framework has to answer as it answers its own handlers' errors.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Framework says how a framework and its adapter do what the table asks for. M is the
// framework's middleware, H its handler. All fields are required unless they say
// otherwise.
type Framework[M, H any] struct {
	// Sessions to Logout are the adapter's own functions. RateLimit is its MustRateLimit,
	// and has to find the pattern of the matched route wherever it is mounted.
	Sessions     func(*session.Manager) M
	RateLimit    func(*ratelimit.Limiter, ratelimit.GateOptions, ...ratelimit.Rule) M
	CrossOrigin  func(*http.CrossOriginProtection) M
	RequireLogin func(m *session.Manager, there string) M
	RequireFresh func(m *session.Manager, maxAge time.Duration, there string) M
	RequireLevel func(m *session.Manager, level int, there string) M
	Devices      func(*session.Manager) H
	Logout       func(m *session.Manager, there string) H

	LogoutEverywhere func(m *session.Manager, there string) H // of the adapter, too

	// Recover returns the framework's middleware that answers 500 to a panic. It may
	// write to no log that the test run shows.
	Recover func() M

	// Handler makes a handler of the framework, which passes the framework's writer and
	// request to h. Its error goes where errors of handlers go; where there is no such
	// place, [session.Manager.Refuse] answers it.
	Handler func(m *session.Manager, h Handler) H

	// Beneath returns the writer for a 1xx that the framework's own would take for the
	// response. Nil means the handler's own.
	Beneath func(http.ResponseWriter) http.ResponseWriter

	// Forward makes a handler that has the server answer as for the path there, with the
	// framework's writer, in the way that the framework has for it. Nil means by the
	// server's ServeHTTP.
	Forward func(server func() http.Handler, there string) H

	// Answers are ways to respond that the framework offers beside the
	// http.ResponseWriter. There may be none.
	Answers []Answer[H]

	// Router returns a server with the middlewares use around all of it, unmatched
	// requests included, the outermost first. group makes a part of it with a prefix of
	// its own, perhaps "", and middlewares around its routes; add a route there. Paths
	// have parameters in braces: see [Colons].
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

// Unwrap returns what the writer is around, for [Framework.Beneath].
func Unwrap(w http.ResponseWriter) http.ResponseWriter {
	return w.(interface{ Unwrap() http.ResponseWriter }).Unwrap()
}

// Colons turns a path's {id} into :id.
func Colons(path string) string { return strings.NewReplacer("{", ":", "}", "").Replace(path) }

var color = session.NewKey[string]("color")

// Mark changes the session, as each [Answer] does ahead of its response. It takes what
// the adapter's function returned that finds the session in the framework's context.
func Mark(s *session.Session, err error) error {
	if err != nil {
		return err
	}
	return color.Set(s, "red")
}

// layer is an M, and endpoint an H, where the types don't matter.
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

// kit is a Framework without its types, so that the table is no generic code.
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
