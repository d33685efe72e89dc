package adaptertest_test

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gatehttp"
	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

type (
	wrap      = func(http.Handler) http.Handler
	add       = adaptertest.Add[wrap, http.Handler]
	framework = adaptertest.Framework[wrap, http.Handler]
)

// with returns the framework whose router lets its middlewares know the pattern of a
// request.
func with(pattern func(*http.Request) string, router func([]wrap) (http.Handler, func(string, []wrap) add)) framework {
	return framework{
		Sessions: gatehttp.Sessions, RequireLogin: gatehttp.RequireLogin, RequireFresh: gatehttp.RequireFresh, RequireLevel: gatehttp.RequireLevel,
		Devices: gatehttp.Devices, Logout: gatehttp.Logout, LogoutEverywhere: gatehttp.LogoutEverywhere,
		CrossOrigin: gatehttp.CrossOrigin,
		RateLimit: func(l *ratelimit.Limiter, opts ratelimit.GateOptions, rules ...ratelimit.Rule) wrap {
			opts.Pattern = pattern
			return gatehttp.MustRateLimit(l, opts, rules...)
		},
		Recover: func() wrap { return quiet },
		Handler: func(m *session.Manager, h adaptertest.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := h(w, r); err != nil {
					m.Refuse(w, r, err)
				}
			})
		},
		Router: router,
	}
}

// silent is a log entry that chi's Recoverer may write to.
type silent struct{ middleware.LogEntry }

func (silent) Panic(any, []byte) {}

func quiet(next http.Handler) http.Handler {
	next = middleware.Recoverer(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inside := middleware.WithLogEntry(r, silent{})
		defer request.GiveBack(r, inside)
		next.ServeHTTP(w, inside)
	})
}

type muxKey struct{}

func TestConformance(t *testing.T) {
	pattern := func(r *http.Request) string {
		return gatehttp.MuxPattern(r.Context().Value(muxKey{}).(*http.ServeMux))(r)
	}
	adaptertest.Run(t, with(pattern, func(use []wrap) (http.Handler, func(string, []wrap) add) {
		mux := http.NewServeMux()
		inner := chi.Chain(use...).Handler(mux)
		server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inside := r.WithContext(context.WithValue(r.Context(), muxKey{}, mux))
			defer request.GiveBack(r, inside)
			inner.ServeHTTP(w, inside)
		})
		return server, func(prefix string, around []wrap) add {
			return func(method, path string, h http.Handler, use []wrap) {
				mux.Handle(method+" "+prefix+path, chi.Chain(slices.Concat(around, use)...).Handler(h))
			}
		}
	}))
}

func TestConformanceOfChi(t *testing.T) {
	pattern := func(r *http.Request) string {
		found := chi.RouteContext(r.Context()).Routes.Find(chi.NewRouteContext(), r.Method, r.URL.Path)
		if found == "" {
			return ratelimit.NoRoute
		}
		return found
	}
	adaptertest.Run(t, with(pattern, func(use []wrap) (http.Handler, func(string, []wrap) add) {
		router := chi.NewRouter()
		router.Use(use...)
		server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			at := chi.NewRouteContext() // without it chi makes one in a copy of the request that it does not give back
			at.Routes = router
			inside := r.WithContext(context.WithValue(r.Context(), chi.RouteCtxKey, at))
			defer request.GiveBack(r, inside)
			router.ServeHTTP(w, inside)
		})
		return server, func(prefix string, use []wrap) add {
			in := router.With(use...)
			return func(method, path string, h http.Handler, use []wrap) { in.With(use...).Method(method, prefix+path, h) }
		}
	}))
}
