package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/gatekit/gatekit"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

const problemType = "application/problem+json"

// fail answers every error as problem details (RFC 9457). For an error of a limit they
// name the violated policies; the fields RateLimit, Retry-After and so on are set
// already.
func (a *api) fail(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	status, body := problem(err)
	if status >= http.StatusInternalServerError {
		a.logger.ErrorContext(c.Request().Context(), "a request failed", "route", c.Path(), "error", err)
	}
	if c.Request().Method == http.MethodHead {
		err = c.NoContent(status)
	} else {
		err = c.Blob(status, problemType, body)
	}
	if err != nil {
		a.logger.WarnContext(c.Request().Context(), "an answer was not delivered", "error", err)
	}
}

func problem(err error) (status int, body []byte) {
	var blocked *gatekit.Refusal
	if errors.As(err, &blocked) {
		body, _ = blocked.MarshalJSON()
		return blocked.Status, append(body, '\n')
	}
	status = http.StatusInternalServerError
	detail := ""
	var failed *echo.HTTPError
	if errors.As(err, &failed) {
		status = failed.Code
		if text := fmt.Sprint(failed.Message); text != http.StatusText(status) {
			detail = text
		}
	}
	body, _ = json.Marshal(struct { // strings and a number: it can't fail
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{http.StatusText(status), status, detail})
	return status, append(body, '\n')
}

// unreadable is the answer to a request that Bind could not read. It keeps the status of
// Bind's error but not the text, which names types of the program and quotes the body.
func unreadable(err error) error {
	status, text := http.StatusBadRequest, "the body is not what this call takes"
	var failed *echo.HTTPError
	if errors.As(err, &failed) && failed.Code != status {
		status, text = failed.Code, http.StatusText(failed.Code) // too large, or no JSON
	}
	return echo.NewHTTPError(status, text).SetInternal(err)
}

// logRequests writes a line for each request, with the route and the caller. It writes no
// header field and no query: keys are in the one, and may be in the other by mistake.
func (a *api) logRequests() echo.MiddlewareFunc {
	return middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		LogMethod: true, LogRoutePath: true, LogStatus: true, LogLatency: true,
		HandleError: true, // so that the line has the status of the answer
		LogValuesFunc: func(c echo.Context, v middleware.RequestLoggerValues) error {
			who := "stranger"
			switch caller := callerOf(c.Request()); {
			case caller.operator:
				who = "operator"
			case caller.tenant != nil:
				who = caller.tenant.id
			}
			a.logger.LogAttrs(c.Request().Context(), slog.LevelInfo, "request",
				slog.String("method", v.Method), slog.String("route", v.RoutePath), slog.Int("status", v.Status),
				slog.String("caller", who), slog.Duration("latency", v.Latency))
			return nil
		},
	})
}
