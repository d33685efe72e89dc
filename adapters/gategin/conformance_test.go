package gategin_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gategin"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/gin-gonic/gin"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode) // logs nothing
	redistest.Main(m)
}

type add = adaptertest.Add[gin.HandlerFunc, gin.HandlerFunc]

// marked returns an answer by a handler of Gin that changes the session first.
func marked(name string, status int, body string, respond gin.HandlerFunc) adaptertest.Answer[gin.HandlerFunc] {
	return adaptertest.NewAnswer(name, status, body, gin.HandlerFunc(func(c *gin.Context) {
		if err := adaptertest.Mark(gategin.Session(c)); err != nil {
			_ = c.AbortWithError(http.StatusInternalServerError, err)
			return
		}
		respond(c)
	}))
}

func TestConformance(t *testing.T) {
	adaptertest.Run(t, adaptertest.Framework[gin.HandlerFunc, gin.HandlerFunc]{
		Sessions: gategin.Sessions, Recover: func() gin.HandlerFunc { return gin.RecoveryWithWriter(io.Discard) },
		RateLimit: gategin.MustRateLimit,
		Handler: func(m *session.Manager, h adaptertest.Handler) gin.HandlerFunc {
			return func(c *gin.Context) {
				if err := h(c.Writer, c.Request); err != nil {
					_ = c.Error(err)
					m.Refuse(c.Writer, c.Request, err)
				}
			}
		},
		CrossOrigin: gategin.CrossOrigin, RequireLogin: gategin.RequireLogin, RequireFresh: gategin.RequireFresh, RequireLevel: gategin.RequireLevel,
		Devices: gategin.Devices, Logout: gategin.Logout, LogoutEverywhere: gategin.LogoutEverywhere,
		Beneath: adaptertest.Unwrap,
		Forward: func(engine func() http.Handler, there string) gin.HandlerFunc {
			return func(c *gin.Context) {
				c.Request.URL.Path = there
				engine().(*gin.Engine).HandleContext(c)
			}
		},
		Answers: []adaptertest.Answer[gin.HandlerFunc]{
			marked("Status", 204, "", func(c *gin.Context) { c.Status(http.StatusNoContent) }),
			marked("Status of an error", 502, "", func(c *gin.Context) { c.Status(http.StatusBadGateway) }),
			marked("Status that changes", 200, "body", func(c *gin.Context) { c.Status(500); c.String(200, "body") }),
			marked("String", 200, "body", func(c *gin.Context) { c.String(200, "body") }),
			marked("JSON", 201, `{"a":1}`, func(c *gin.Context) { c.JSON(201, gin.H{"a": 1}) }),
			marked("Redirect", 303, "*", func(c *gin.Context) { c.Redirect(http.StatusSeeOther, "/there") }),
			marked("AbortWithStatus", 404, "", func(c *gin.Context) { c.AbortWithStatus(404) }),
			marked("AbortWithError", 500, "", func(c *gin.Context) { _ = c.AbortWithError(500, errors.New("on purpose")) }),
			marked("AbortWithStatusJSON", 400, `"no"`, func(c *gin.Context) { c.AbortWithStatusJSON(400, "no") }),
			marked("SSEvent", 200, "event:now\ndata:body\n\n", func(c *gin.Context) { c.SSEvent("now", "body") }),
			marked("Stream", 200, "body", func(c *gin.Context) {
				c.Stream(func(w io.Writer) bool { _, _ = io.WriteString(w, "body"); return false })
			}),
			marked("DataFromReader", 200, "body", func(c *gin.Context) {
				c.DataFromReader(200, 4, "text/plain", strings.NewReader("body"), nil)
			}),
			marked("File", 200, "*", func(c *gin.Context) { c.File("conformance_test.go") }),
		},
		Router: func(use []gin.HandlerFunc) (http.Handler, func(string, []gin.HandlerFunc) add) {
			engine := gin.New()
			engine.Use(use...)
			return engine, func(prefix string, use []gin.HandlerFunc) add {
				group := engine.Group(prefix, use...)
				return func(method, path string, h gin.HandlerFunc, use []gin.HandlerFunc) {
					group.Handle(method, adaptertest.Colons(path), append(use, h)...)
				}
			}
		},
	})
}
