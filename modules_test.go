package gatekit_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
)

// outside makes a program in a module of its own, as a user of a clone would, builds it
// and returns the versions of all modules in its list.
func outside(t *testing.T, requires, program string) map[string]string {
	t.Helper()
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  fmt.Sprintf("module example.com/program\n\ngo 1.26.0\n\nrequire %s v0.0.0\n%s\nreplace %s => %s\n", module, requires, module, root),
		"main.go": program,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list := ""
	for _, args := range [][]string{{"build", "-mod=mod", "-o", os.DevNull, "."}, {"list", "-mod=mod", "-m", "all"}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOSUMDB=off")
		out, err := cmd.CombinedOutput()
		if err != nil {
			if strings.Contains(string(out), "proxy") && os.Getenv("CI") == "" {
				t.Skipf("no modules from the network: %s", out)
			}
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
		list = string(out)
	}
	versions := map[string]string{}
	for line := range strings.Lines(list) {
		if words := strings.Fields(line); len(words) > 1 && strings.HasPrefix(words[1], "v") {
			versions[words[0]] = words[1]
		}
	}
	return versions
}

const lightProgram = `package main

import (
	"net/http"

	"github.com/gatekit/gatekit/adapters/gatehttp"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
%s)

func main() {
	var m *session.Manager
	var l *ratelimit.Limiter
	_, _, _ = gatehttp.Sessions(m), l, http.NotFound
%s}
`

// TestModulesOfAProgram: who imports the kit gets few modules, none that only tests need,
// and keeps what he has.
func TestModulesOfAProgram(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	versions := outside(t, "", fmt.Sprintf(lightProgram, "", ""))
	t.Logf("%d modules: %v", len(versions), versions)
	if len(versions) > 20 {
		t.Errorf("%d modules, want 20 at most: %v", len(versions), versions)
	}
	for name := range versions {
		for _, giant := range []string{"chromedp", "quic-go", "mongo-driver", "echo", "gin", "chi", "sonic", "websocket", "scs"} {
			if strings.Contains(name+"/", "/"+giant+"/") {
				t.Errorf("%s is in the list of modules", name)
			}
		}
	}
}

func TestFrameworksOfAProgramStay(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	want := map[string]string{"github.com/gin-gonic/gin": "v1.9.1", "github.com/labstack/echo/v4": "v4.12.0", "github.com/go-chi/chi/v5": "v5.0.12"}
	requires, imports, uses := "", "", ""
	for name, version := range want {
		requires += "require " + name + " " + version + "\n"
		base := filepath.Base(strings.TrimSuffix(strings.TrimSuffix(name, "/v4"), "/v5"))
		imports += fmt.Sprintf("\t%q\n", name)
		uses += map[string]string{"gin": "\t_ = gin.New()\n", "echo": "\t_ = echo.New()\n", "chi": "\t_ = chi.NewRouter()\n"}[base]
	}
	got := outside(t, requires, fmt.Sprintf(lightProgram, imports, uses))
	for name, version := range want {
		if got[name] != version {
			t.Errorf("%s is %s in the program's list, want its own %s", name, got[name], version)
		}
	}
}
