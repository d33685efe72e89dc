package main

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/gatekit/gatekit/adapters/gateecho"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

// reportCost is the number of permits that a report costs. Other requests cost one, or
// nothing.
const reportCost = 5

// api is the service. It is safe for concurrent use.
type api struct {
	limiter *ratelimit.Limiter
	tenants *tenants
	logger  *slog.Logger
}

func (a *api) handler() *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = a.fail
	e.Use(
		a.logRequests(),
		middleware.Recover(),
		middleware.BodyLimit("16K"),
		a.identify,
		// This limit is around all routes and around requests that no route matches: a
		// client that tries many paths is a stranger too.
		gateecho.RateLimitWithConfig(gateecho.RateLimitConfig{
			Skipper: func(c echo.Context) bool { return c.Path() == "/health" },
			Limiter: a.limiter,
			Rules:   []ratelimit.Rule{strangers()},
		}),
	)
	e.GET("/health", func(c echo.Context) error { return c.String(http.StatusOK, "ok\n") })

	costs := func(permits int64) echo.MiddlewareFunc {
		return gateecho.MustRateLimit(a.limiter, ratelimit.GateOptions{}, byPlan(permits))
	}
	v1 := e.Group("/v1", onlyIf(func(c caller) bool { return c.tenant != nil }))
	v1.GET("/items", a.items, costs(1))
	v1.POST("/reports", a.report, costs(reportCost))
	v1.GET("/usage", a.usage)
	admin := e.Group("/admin", onlyIf(func(c caller) bool { return c.operator }))
	admin.PUT("/tenants/:tenant/quota", a.setQuota)
	return e
}

type callerKey struct{}

// callerOf returns the caller of the request, for rules and handlers.
func callerOf(r *http.Request) caller {
	c, _ := r.Context().Value(callerKey{}).(caller)
	return c
}

// identify finds the caller by the API key. It lets every request pass, since the limits
// must count a request before it is refused.
func (a *api) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if key, ok := strings.CutPrefix(r.Header.Get(echo.HeaderAuthorization), "Bearer "); ok {
			c.SetRequest(r.WithContext(context.WithValue(r.Context(), callerKey{}, a.tenants.find(key))))
		}
		return next(c)
	}
}

// onlyIf refuses callers of another kind: tenants may not call the operator's routes, nor
// the operator the tenants'.
func onlyIf(welcome func(caller) bool) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			who := callerOf(c.Request())
			switch {
			case welcome(who):
				return next(c)
			case who.known():
				return echo.NewHTTPError(http.StatusForbidden, "this key is for something else")
			}
			c.Response().Header().Set(echo.HeaderWWWAuthenticate, `Bearer realm="api"`)
			return echo.NewHTTPError(http.StatusUnauthorized, "send a valid key: Authorization: Bearer KEY")
		}
	}
}

func (a *api) items(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]any{"items": []string{"anvil", "rocket skates", "giant magnet"}})
}

func (a *api) report(c echo.Context) error {
	return c.JSON(http.StatusCreated, map[string]any{"report": "three items", "cost": reportCost})
}

// usage answers with what the tenant has left. It costs nothing.
func (a *api) usage(c echo.Context) error {
	return a.writeUsage(c, callerOf(c.Request()).tenant)
}

// setQuota is for the operator, who sends {"per_minute": 30}, or 0 for the plan's quota.
// It answers with what the tenant has left now.
func (a *api) setQuota(c echo.Context) error {
	t := a.tenants.byID[c.Param("tenant")]
	if t == nil {
		return echo.NewHTTPError(http.StatusNotFound, "no such tenant")
	}
	var wanted struct {
		PerMinute *int64 `json:"per_minute"`
	}
	if err := c.Bind(&wanted); err != nil {
		return unreadable(err)
	}
	if wanted.PerMinute == nil {
		return echo.NewHTTPError(http.StatusUnprocessableEntity, "per_minute is missing")
	}
	if err := t.setQuota(*wanted.PerMinute); err != nil {
		return echo.NewHTTPError(http.StatusUnprocessableEntity, err.Error())
	}
	return a.writeUsage(c, t)
}

// usage is the state of one limit, as JSON.
type usage struct {
	Limit     string  `json:"limit"`
	Quota     int64   `json:"quota"`
	Remaining int64   `json:"remaining"`
	MoreIn    float64 `json:"more_in_seconds"` // until the next permit comes back; 0 when none is spent
}

func (a *api) writeUsage(c echo.Context, t *tenant) error {
	d, err := a.limiter.Peek(c.Request().Context(), t.current().policy, t.key())
	if err == nil {
		err = d.Degraded // the decision of this process alone does not say what is left
	}
	if err != nil {
		return echo.NewHTTPError(http.StatusServiceUnavailable, "the counts can't be read").SetInternal(err)
	}
	limits := make([]usage, len(d.Limits))
	for i, l := range d.Limits {
		limits[i] = usage{l.Name, l.Quota, l.Remaining, l.ResetAfter.Seconds()}
	}
	return c.JSON(http.StatusOK, map[string]any{"tenant": t.id, "plan": t.plan.name, "limits": limits})
}
