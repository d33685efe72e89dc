package gatekit_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
)

// The programs of the README, as a reader with a clone would make them: in a module of
// their own, by the commands that the README shows.

// readmeImports has the import path of each package that the README's code names.
var readmeImports = map[string]string{
	"context": "context", "fmt": "fmt", "log": "log", "http": "net/http", "os": "os",
	"gatekit": module, "session": module + "/session", "ratelimit": module + "/ratelimit",
	"gatehttp": module + "/adapters/gatehttp", "gateecho": module + "/adapters/gateecho",
	"gateecho5": module + "/adapters/gateecho5", "gategin": module + "/adapters/gategin",
	"echo": "github.com/labstack/echo/v4", "echo5": "github.com/labstack/echo/v5", "gin": "github.com/gin-gonic/gin",
}

// blockAfter returns the first block of code that opens with fence behind the text mark.
func blockAfter(t *testing.T, page, mark, fence string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, mark)
	_, rest, opened := strings.Cut(rest, "\n"+fence+"\n")
	block, _, closed := strings.Cut(rest, "\n```")
	if !found || !opened || !closed {
		t.Fatalf("README.md has no block %q behind %q", fence, mark)
	}
	return block
}

// readmeProgram makes a program of the README's opening block and a framework's site. In
// the README "..." stands for looking at the error, and imports are left to the editor.
func readmeProgram(opening, site, addr string) string {
	opening, declared, _ := strings.Cut(opening, "...\nvar ")
	body := strings.ReplaceAll(opening, "...\n", "if err != nil {\nlog.Fatal(err)\n}\n") + "if err != nil {\nlog.Fatal(err)\n}\n" + site
	if handler := regexp.MustCompile(`(?m)^(e|engine) := `).FindStringSubmatch(site); handler != nil {
		body += "\nlog.Fatal(http.ListenAndServe(\":8080\", " + handler[1] + "))"
	}
	text := "var " + declared + "\nfunc main() {\n" + strings.ReplaceAll(body, `":8080"`, fmt.Sprintf("%q", addr)) + "\n}\n"
	imports := ""
	for name, path := range readmeImports {
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(text) {
			imports += fmt.Sprintf("%s %q\n", name, path)
		}
	}
	return "package main\nimport (\n" + imports + ")\n" + text
}

// runIn runs a command in dir as a reader would, who has no go.work.
func runIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOSUMDB=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "proxy") && os.Getenv("CI") == "" {
			t.Skipf("no modules from the network: %s", out)
		}
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

func TestProgramsOfTheReadme(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	opening := blockAfter(t, page, "## Quick start", "```go")
	commands := blockAfter(t, page, "with a clone beside it", "```")
	for _, c := range []struct{ name, mark, adapter string }{
		{"net/http", "\n**net/http**", ""},
		{"Echo v4", "\n**Echo v4**", "gateecho"},
		{"Echo v5", "\n**Echo v5**", "gateecho5"},
		{"Gin", "\n**Gin**", "gategin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, addr := t.TempDir(), freeAddr(t)
			program := readmeProgram(opening, blockAfter(t, page, c.mark, "```go"), addr)
			if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o644); err != nil {
				t.Fatal(err)
			}
			ran := 0
			for line := range strings.Lines(commands) {
				words := strings.Fields(line)
				if strings.Contains(line, "gategin") {
					if c.adapter == "" { // the line is for an adapter that is a module of its own
						continue
					}
					words = strings.Fields(strings.ReplaceAll(line, "gategin", c.adapter))
				}
				if len(words) < 3 || words[0] != "go" || words[1] == "run" {
					continue
				}
				for i := range words {
					words[i] = strings.ReplaceAll(words[i], "=../gatekit", "="+root)
				}
				runIn(t, dir, words...)
				ran++
			}
			if want := 2 + min(1, len(c.adapter)); ran != want {
				t.Fatalf("the README shows %d commands for a clone, want %d: go mod init, go mod edit", ran, want)
			}
			runIn(t, dir, "go", "build", "-mod=mod", "-o", "site", ".")
			visitProgram(t, filepath.Join(dir, "site"), addr)
		})
	}
}

// visitProgram starts a program on a Redis of the tests and asks for a page that only
// those who are logged in may see.
func visitProgram(t *testing.T, program, addr string) {
	t.Helper()
	var said strings.Builder
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), "REDIS_URL="+redistest.NewSingle(t).URL())
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+"/account", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/html")
		resp, err := client.Do(req)
		if err != nil && time.Now().Before(end) {
			continue // it does not listen yet
		}
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		to := resp.Header.Get("Location")
		if resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, "/login") {
			t.Errorf("got %d to %q: %s, want 303 to /login", resp.StatusCode, to, body)
		}
		return
	}
}

// freeAddr returns an address that nothing listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
