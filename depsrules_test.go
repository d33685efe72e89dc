// These files hold the rules that concern the whole tree: which way imports point, what
// must be documented, what a file may not mention. Each rule is a function of plain
// values and is tested on made-up bad input too, so that a rule which no longer catches
// anything fails here.
package gatekit_test

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gatekit/gatekit"

// layers are the top-level folders, and the root, in the order in which imports may
// point: to a lower number only. Those with the same number don't see each other.
// internal/kvtest opens a Redis for tests, by the root. internal/calendar is below the
// store, which passes its periods to the scripts.
var layers = map[string]int{"lua": 0, "internal/calendar": 0, "internal": 1, ".": 2, "internal/kvtest": 3, "ratelimit": 4, "session": 4, "adapters": 5, "examples": 6}

// belongs lists the packages in internal that are part of a core: what its tests measure
// it against. They stand in internal so that users can't import them.
var belongs = map[string]string{"internal/limittest": "ratelimit", "internal/browsertest": "session"}

// rooms are the packages that session has for itself.
const rooms = "session/internal"

// rootTests is the level of this package: the tests of the root may look at everything.
const rootTests = 7

// allowed lists, for each library unit, the modules outside this one that its users get
// with it. A dependency of a library is a decision: extend the table in the commit that
// needs it.
var allowed = map[string][]string{
	".":                  {"github.com/redis/go-redis/v9"},
	"lua":                {},
	"internal/store":     {"github.com/redis/go-redis/v9"},
	"ratelimit":          {"github.com/sony/gobreaker/v2"},
	"session":            {"github.com/google/uuid"},
	"adapters/gatehttp":  {},
	"adapters/fromscs":   {},
	"adapters/gateecho":  {"github.com/labstack/echo/v4"},
	"adapters/gateecho5": {"github.com/labstack/echo/v5"},
	"adapters/gategin":   {"github.com/gin-gonic/gin"},
	"adapters/dropin":    {}, // it fits by method sets

	// The adapters of frameworks, too, are modules of their own, whose dependencies are
	// nobody else's.
	"adapters/gategorilla": {"github.com/gorilla/sessions", "github.com/gorilla/securecookie", "github.com/gin-contrib/sessions", "github.com/gin-gonic/gin"},
}

// frameworks belong to adapters and examples; below these not even a test knows them.
var frameworks = []string{"github.com/labstack/echo", "github.com/gin-gonic/gin", "github.com/go-chi/chi", "github.com/gorilla/mux"}

// within reports whether an import path or folder is root or lies below it.
func within(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

func withinAny(p string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return within(p, root) })
}

// top is the first element of a folder: its layer.
func top(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

func level(dir string) int {
	if n, ok := layers[dir]; ok {
		return n
	}
	return layers[top(unit(dir))]
}

// unit is the part of the tree inside which imports are free: a core, one internal
// package, one adapter, one example.
func unit(dir string) string {
	if parts := strings.Split(dir, "/"); slices.Contains([]string{"internal", "adapters", "examples"}, parts[0]) && len(parts) > 1 {
		own := parts[0] + "/" + parts[1]
		return cmp.Or(belongs[own], own)
	}
	return top(dir)
}

// testPackage reports whether a folder holds a package for tests, such as
// internal/redistest.
func testPackage(dir string) bool {
	return slices.ContainsFunc(strings.Split(dir, "/"), func(s string) bool { return len(s) > 4 && strings.HasSuffix(s, "test") })
}

// importProblem says what is wrong when a file in folder dir (relative to the root, "."
// for the root itself) imports imp, or returns "". inTest is true for files named
// *_test.go.
func importProblem(dir string, inTest bool, imp string) string {
	forTests := inTest || testPackage(dir)
	if within(imp, module) {
		return kitImportProblem(dir, inTest, forTests, path.Join(".", strings.TrimPrefix(imp, module)))
	}
	standard := !strings.Contains(top(imp), ".")
	switch {
	case standard && within(imp, "testing") && !forTests:
		return "package testing would reach the users' programs"
	case standard:
		return ""
	case withinAny(versionless(imp), frameworks) && level(dir) < layers["adapters"] && !(dir == "." && inTest):
		return "frameworks are for adapters and examples"
	case forTests || level(dir) >= layers["examples"]:
		return ""
	case within(imp, "github.com/redis/go-redis/v9") && dir != "." && unit(dir) != "internal/store":
		return "only internal/store and the root import go-redis; the root names what others need"
	case within(imp, "github.com/alicebob/miniredis/v2"):
		return "the embedded server is for examples and tests; there is one store"
	case !withinAny(imp, allowed[unit(dir)]):
		return "not in the list of allowed modules for " + unit(dir)
	}
	return ""
}

func kitImportProblem(dir string, inTest, forTests bool, target string) string {
	if target == "" || target == "/" {
		target = "."
	}
	target = strings.TrimPrefix(target, "/")
	from, to := level(dir), level(target)
	if dir == "." && inTest {
		from = rootTests
	}
	switch {
	case within(target, rooms) && dir != "session" && !within(dir, rooms):
		return "the rooms of session are for package session only"
	case within(dir, rooms) && !inTest && !within(target, rooms):
		return "the rooms of session know nothing of Redis, nor of session"
	case testPackage(target) && !forTests:
		return "packages for tests are imported by tests only"
	case unit(dir) == unit(target):
		return ""
	case inTest && testPackage(dir) && top(dir) == "adapters": // tests of adapters that are modules of their own
		return ""
	case top(dir) == "examples" && within(target, "examples/internal"): // what examples share, and nothing else may use
		return ""
	case to > from:
		return "imports point down: examples, adapters, session | ratelimit, the root, internal/store, lua"
	case to == from && !(forTests && testPackage(target) && top(unit(dir)) == top(unit(target))):
		return top(dir) + " packages of one level don't import each other"
	case level(dir) >= layers["adapters"] && (unit(target) == "internal/store" || top(target) == "lua") && !forTests:
		return "adapters and examples call session or ratelimit, never a script"
	}
	return ""
}

var majorVersion = regexp.MustCompile(`/v[0-9]+(/|$)`)

// versionless drops a major version element: frameworks are listed without.
func versionless(imp string) string {
	return strings.TrimSuffix(majorVersion.ReplaceAllString(imp, "/"), "/")
}

func TestImportRuleCatches(t *testing.T) {
	const redis, mini = "github.com/redis/go-redis/v9", "github.com/alicebob/miniredis/v2"
	for _, c := range []struct {
		dir    string
		inTest bool
		imp    string
		bad    bool
	}{
		{"internal/store", false, redis, false},
		{"internal/store", false, redis + "/maintnotifications", false},
		{"internal/store", false, "github.com/redis/go-redis/v9x", true},
		{"internal/store", false, module + "/ratelimit", true},
		{"internal/store", true, module + "/ratelimit", true},
		{"internal/store", false, module + "/internal/redistest", true},
		{"internal/store", true, module + "/internal/redistest", false},
		{"internal/store", false, "testing", true},
		{"internal/store", true, "testing/synctest", false},
		{"internal/redistest", false, "testing", false},
		{"internal/redistest", false, mini, false},
		{"internal/store", false, mini, true},
		{"ratelimit", false, module + "/internal/store", false},
		{"ratelimit", false, redis, true},
		{"ratelimit", true, redis, false},
		{"ratelimit", false, module + "/session", true},
		{"ratelimit", true, module + "/session", true},
		{"internal/limittest", false, module + "/internal/browsertest", true},
		{"internal/limittest", false, module + "/session", true},
		{"ratelimit", true, module + "/internal/limittest", false},
		{"ratelimit", false, module + "/internal/limittest", true},
		{"ratelimit", true, module + "/internal/browsertest", true},
		{"internal/browsertest", false, module + "/session", false},
		{"session", true, module + "/internal/browsertest", false},
		{"session", false, module + "/internal/browsertest", true},
		{"session", true, module + "/internal/limittest", true},
		{"internal/store", true, module + "/internal/browsertest", true},
		{"adapters/gatehttp", true, module + "/internal/browsertest", false},
		{"adapters/gatehttp", false, module + "/internal/browsertest", true},
		{"ratelimit", true, module + "/adapters/gatehttp", true},
		{"ratelimit", false, "github.com/sony/gobreaker/v2", false},
		{"ratelimit", false, "github.com/google/uuid", true},
		{"ratelimit", false, "github.com/labstack/echo/v4", true},
		{"ratelimit", true, "github.com/labstack/echo/v4/middleware", true},
		{"internal/limittest", false, module + "/ratelimit", false},
		{"internal/limittest", false, module + "/internal/redistest", false},
		{"ratelimit/internal/merge", false, module + "/ratelimit/internal/clock", false},
		{"ratelimit", false, "net/http", false},
		{"session", false, "github.com/google/uuid", false},
		{"session", false, module + "/ratelimit", true},
		{"session", false, module + "/session/internal/respwriter", false},
		{"session", true, module + "/session/internal/respwriter", false},
		{"session/blob", false, module + "/session/internal/token", true},
		{"session/blob", false, module + "/session", false},
		{"session/blob", false, module + "/internal/store", false},
		{"adapters/dropin", false, module + "/session/blob", false},
		{"adapters/gatehttp", true, module + "/session/internal/respwriter", true},
		{"session/internal/respwriter", false, module + "/session/internal/other", false},
		{"session/internal/respwriter", false, module + "/internal/store", true},
		{"session/internal/respwriter", false, module + "/session", true},
		{"session/internal/respwriter", false, "net/http", false},
		{"session", true, "github.com/gin-gonic/gin", true},
		{"session", true, "github.com/go-chi/chi/v5/middleware", true},
		{"adapters/gatehttp", false, module + "/ratelimit", false},
		{"adapters/gatehttp", false, module + "/session", false},
		{"adapters/gatehttp", false, module + "/internal/store", true},
		{"adapters/gatehttp", true, module + "/internal/store", false},
		{"adapters/gatehttp", false, redis, true},
		{"adapters/gatehttp", false, mini, true},
		{"adapters/gatehttp", false, "github.com/go-chi/chi/v5", true},
		{"adapters/gatehttp", true, "github.com/go-chi/chi/v5", false},
		{"adapters/gatehttp", true, module + "/adapters/adaptertest", false},
		{"adapters/gatehttp", false, module + "/adapters/adaptertest", true},
		{"adapters/gategin", false, "github.com/gin-gonic/gin", false},
		{"adapters/gategin", false, "github.com/labstack/echo/v4", true},
		{"adapters/gategin", false, module + "/adapters/gatehttp", true},
		{"adapters/gategin", true, module + "/adapters/gatehttp", true},
		{"adapters/gategin", false, module + "/examples/quickstart", true},
		{"adapters/new", false, "example.com/not/listed", true},
		{"adapters/dropin", false, "github.com/go-chi/httprate", true},
		{"adapters/dropin", true, "github.com/go-chi/httprate", false},
		{"adapters/dropin", true, "github.com/alexedwards/scs/v2", false},
		{"adapters/gategorilla", false, "github.com/gorilla/sessions", false},
		{"adapters/gategorilla", false, "github.com/boj/redistore", true},
		{"adapters/gategorilla", false, module + "/session", false},
		{"adapters/gategorilla", false, module + "/adapters/dropin", true},
		{"adapters/gategorilla/ginstore", false, module + "/adapters/gategorilla", false},
		{"examples/quickstart", false, mini, false},
		{"examples/quickstart", false, redis, false},
		{"examples/quickstart", false, module, false},
		{"examples/quickstart", false, module + "/internal/store", true},
		{"examples/quickstart", false, module + "/lua", true},
		{".", false, redis, false},
		{".", false, module + "/internal/store", false},
		{".", false, module + "/session", true},
		{".", false, module + "/adapters/gatehttp", true},
		{".", false, "github.com/gin-gonic/gin", true},
		{"lua", false, redis, true},
		{"lua", false, module + "/internal/store", true},
		{"internal/store", false, module + "/lua", false},
		{"internal/store", false, module, true},
		{"internal/store", true, module, true},
		{"internal/kvtest", false, module, false},
		{"internal/kvtest", false, module + "/session", true},
		{"session", false, module, false},
		{"session", false, module + "/lua", false},
		{"session", true, module + "/internal/kvtest", false},
		{"session", false, module + "/internal/kvtest", true},
		{"adapters/gatehttp", false, module, false},
		{"adapters/gatehttp", false, module + "/lua", true},
		{"adapters/gatehttp", true, module + "/internal/kvtest", false},
		{"examples/quickstart", false, module + "/adapters/gatehttp", false},
		{"examples/quickstart", false, module + "/internal/redistest", true},
		{"examples/quickstart", true, module + "/internal/redistest", false},
		{"examples/quickstart", false, module + "/examples/other", true},
		{"examples/quickstart", false, module + "/examples/internal/demo", false},
		{"examples/quickstart", false, module + "/examples/internalother", true},
		{"examples/quickstart", false, module + "/examples/internal/demotest", true},
		{"examples/quickstart", true, module + "/examples/internal/demotest", false},
		{"examples/internal/demo", false, module + "/examples/internal/demotest", true},
		{"examples/internal/demo", true, module + "/examples/internal/demotest", false},
		{"examples/internal/demotest", false, module + "/examples/internal/demo", false},
		{"examples/internal/demotest", false, module + "/internal/redistest", false},
		{"examples/internal/demo", false, module + "/examples/quickstart", true},
		{"examples/internal/demo", true, module + "/examples/quickstart", true},
		{"adapters/gatehttp", false, module + "/examples/internal/demo", true},
		{"adapters/gatehttp", true, module + "/examples/internal/demotest", true},
		{"session", false, module + "/examples/internal/demo", true},
		{"session", true, module + "/examples/internal/demotest", true},
		{"ratelimit", false, module + "/examples/internal/demo", true},
		{"internal/store", false, module + "/examples/internal/demo", true},
		{"internal/store", true, module + "/examples/internal/demotest", true},
		{".", true, module + "/adapters/gatehttp", false},
	} {
		name := c.dir + " imports " + c.imp
		if c.inTest {
			name += " in a test"
		}
		t.Run(name, func(t *testing.T) {
			if problem := importProblem(c.dir, c.inTest, c.imp); (problem != "") != c.bad {
				t.Errorf("%s (test file: %v) imports %s: problem %q, want one: %v", c.dir, c.inTest, c.imp, problem, c.bad)
			}
		})
	}
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range parseTree(t) {
		for name, file := range p.files {
			for _, spec := range file.Imports {
				imp := strings.Trim(spec.Path.Value, `"`)
				if problem := importProblem(p.dir, strings.HasSuffix(name, "_test.go"), imp); problem != "" {
					t.Errorf("%s imports %s: %s", name, imp, problem)
				}
			}
		}
	}
}

// nestedRequired names the modules of a nested module's go.mod that the go.sum of the
// whole kit has as well, though only the nested module is there for them.
func nestedRequired(sum string, nested []string) (leaked []string) {
	for _, path := range nested {
		if strings.Contains(sum, path+" v") {
			leaked = append(leaked, path)
		}
	}
	return leaked
}

// What a bridge needs stays in its module: who imports the kit gets none of it into
// go.sum.
func TestBridgesKeepTheirDependencies(t *testing.T) {
	if got := nestedRequired("example.com/a v1.0.0 h1:x\nexample.com/b/c v1.0.0 h1:x\n", []string{"example.com/a", "example.com/b"}); len(got) != 1 {
		t.Errorf("the rule finds %q", got)
	}
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range nestedRequired(string(sum), []string{
		"github.com/gorilla/sessions", "github.com/gorilla/securecookie", "github.com/gin-contrib/sessions", "github.com/gin-gonic/gin",
		"github.com/labstack/echo/v4", "github.com/labstack/echo/v5", "github.com/go-chi/chi/v5", "github.com/go-chi/httprate",
		"github.com/alexedwards/scs/v2", "github.com/go-redis/redis_rate/v10", "github.com/chromedp/chromedp",
		"github.com/coder/websocket", "github.com/quic-go/quic-go", "go.mongodb.org/mongo-driver/v2",
	}) {
		t.Errorf("go.sum has %s", path)
	}
}

// folderProblem says why a top-level folder should not be there, or returns "".
func folderProblem(name string) string {
	if _, ok := layers[name]; ok || strings.HasPrefix(name, ".") {
		return ""
	}
	if name == "bin" { // built programs, ignored by git
		return ""
	}
	return "not one of the folders of the kit"
}

func TestTopLevelFolders(t *testing.T) {
	for _, name := range []string{"util", "scripts", "helpers", "redistest"} {
		t.Run(name, func(t *testing.T) {
			if folderProblem(name) == "" {
				t.Errorf("the rule lets a folder %s pass", name)
			}
		})
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if problem := folderProblem(e.Name()); e.IsDir() && problem != "" {
			t.Errorf("%s: %s", e.Name(), problem)
		}
	}
}

// pkg is one folder of Go files.
type pkg struct {
	dir   string               // slash-separated, relative to the root; "." for the root
	main  bool                 // a program
	files map[string]*ast.File // by path, tests included
}

// library reports whether users of the kit can import the package.
func (p pkg) library() bool {
	return !p.main && !testPackage(p.dir) && !slices.Contains(strings.Split(p.dir, "/"), "internal")
}

// parseTree reads every Go file that walk visits, whatever its build constraints.
func parseTree(t *testing.T) []pkg {
	t.Helper()
	byDir := map[string]*pkg{}
	fset := token.NewFileSet()
	walk(t, func(name string) {
		if !strings.HasSuffix(name, ".go") || strings.Contains("/"+name, "/testdata/") {
			return
		}
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		dir := path.Dir(name)
		if byDir[dir] == nil {
			byDir[dir] = &pkg{dir: dir, files: map[string]*ast.File{}}
		}
		byDir[dir].files[name] = file
		byDir[dir].main = byDir[dir].main || file.Name.Name == "main"
	})
	if len(byDir) < 2 {
		t.Fatal("found no package: the walk is broken")
	}
	var pkgs []pkg
	for _, p := range byDir {
		pkgs = append(pkgs, *p)
	}
	slices.SortFunc(pkgs, func(a, b pkg) int { return strings.Compare(a.dir, b.dir) })
	return pkgs
}

// walk calls visit with the slash-separated path of each file of the module, and of the
// modules nested among the adapters and of the examples: to the rules they are adapters
// and examples like others. Modules nested further have rules of their own.
func walk(t *testing.T, visit func(name string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			if d.Type().IsRegular() && d.Name() != ".git" { // .git is a file in a worktree
				visit(filepath.ToSlash(name))
			}
			return nil
		}
		if name == "." {
			return nil
		}
		_, nested := os.Stat(filepath.Join(name, "go.mod"))
		if d.Name() == ".git" || name == "bin" || nested == nil && name != "examples" && filepath.ToSlash(filepath.Dir(name)) != "adapters" {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// exampleProblem says what a library package lacks to be understood from its
// documentation, or returns "".
func exampleProblem(files map[string]*ast.File) string {
	comment, example := false, false
	for name, file := range files {
		if !strings.HasSuffix(name, "_test.go") {
			comment = comment || strings.TrimSpace(file.Doc.Text()) != ""
			continue
		}
		for _, ex := range doc.Examples(file) {
			example = example || ex.Output != "" || ex.EmptyOutput // without an output it is compiled, not run
		}
	}
	switch {
	case !comment:
		return "has no package comment"
	case !example:
		return "has no Example with an output"
	}
	return ""
}

// withExamplesOf adds the files of adapters/foreigntest that test an adapter against the
// kit that it stands in for.
func withExamplesOf(all []pkg, p pkg) map[string]*ast.File {
	files := maps.Clone(p.files)
	for _, other := range all {
		if path.Dir(other.dir) == "adapters/foreigntest" && path.Dir(p.dir) == "adapters" && path.Base(other.dir) == path.Base(p.dir) {
			maps.Copy(files, other.files)
		}
	}
	return files
}

func TestEveryPackageHasAnExample(t *testing.T) {
	const commented, runs = "// Package x is for y.\npackage x", "package x_test\nfunc Example() {\n// Output: 1\n}"
	for _, c := range []struct {
		name, source, test string
		bad                bool
	}{
		{"all there", commented, runs, false},
		{"no package comment", "package x", runs, true},
		{"comment set apart", "// Package x is for y.\n\npackage x", runs, true},
		{"no example", commented, "package x_test", true},
		{"example that is not run", commented, "package x_test\nfunc Example() {}", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			problem := exampleProblem(map[string]*ast.File{"x.go": parse(t, c.source), "x_test.go": parse(t, c.test)})
			if (problem != "") != c.bad {
				t.Errorf("problem %q, want one: %v", problem, c.bad)
			}
		})
	}
	all := parseTree(t)
	for _, p := range all {
		if problem := exampleProblem(withExamplesOf(all, p)); p.library() && problem != "" {
			t.Errorf("package %s %s", p.dir, problem)
		}
	}
}

// undocumented names the exported identifiers of a file that have no comment: functions,
// methods, types, constants, variables, struct fields and interface methods. A comment on
// a group of constants or variables stands for all.
func undocumented(file *ast.File) []string {
	var missing []string
	check := func(owner string, names []*ast.Ident, comments ...*ast.CommentGroup) {
		for _, c := range comments {
			if strings.TrimSpace(c.Text()) != "" {
				return
			}
		}
		for _, n := range names {
			if n.IsExported() {
				missing = append(missing, owner+n.Name)
			}
		}
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if r := receiver(d); r == "" {
				check("", []*ast.Ident{d.Name}, d.Doc)
			} else if ast.IsExported(r) {
				check(r+".", []*ast.Ident{d.Name}, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.ValueSpec:
					check("", s.Names, d.Doc, s.Doc, s.Comment)
				case *ast.TypeSpec:
					if d.Lparen.IsValid() {
						check("", []*ast.Ident{s.Name}, s.Doc, s.Comment)
					} else {
						check("", []*ast.Ident{s.Name}, d.Doc, s.Comment)
					}
					for _, f := range members(s) {
						check(s.Name.Name+".", f.Names, f.Doc, f.Comment)
					}
				}
			}
		}
	}
	return missing
}

// receiver is the name of a method's type, "" for a function.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	var name string
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool { // through *T and T[A]: the first name is the type's
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return name == ""
	})
	return name
}

// members are the fields or methods that an exported type declares in its own braces.
func members(s *ast.TypeSpec) []*ast.Field {
	if !s.Name.IsExported() {
		return nil
	}
	switch typ := s.Type.(type) {
	case *ast.StructType:
		return typ.Fields.List
	case *ast.InterfaceType:
		return typ.Methods.List
	}
	return nil
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, c := range []struct{ source, missing string }{
		{"func F() {}", "F"},
		{"// F does.\nfunc F() {}\nfunc g() {}", ""},
		{"// T is.\ntype T[A any] struct{}\nfunc (t *T[A]) M() {}\nfunc (T[A]) n() {}", "T.M"},
		{"type t struct{ F int }\nfunc (t) M() {}", ""},
		{"type T int", "T"},
		{"// T is.\ntype T struct {\n// A is.\nA, B int\nC int // C is.\nD, e int\nf int\n}", "T.D"},
		{"// I is.\ntype I interface {\n// M does.\nM()\nN()\n}", "I.N"},
		{"// Both are.\ntype (\nA int\n// B is.\nB int\n)", "A"},
		{"const C = 1\nvar V, w int", "C V"},
		{"// All are.\nconst (\nA = iota\nB\n)", ""},
		{"const (\nA = 1 // A is.\nB = 2\n)", "B"},
	} {
		t.Run(fmt.Sprintf("%.40q", c.source), func(t *testing.T) {
			if got := strings.Join(undocumented(parse(t, "package x\n"+c.source)), " "); got != c.missing {
				t.Errorf("undocumented in %q: got %q, want %q", c.source, got, c.missing)
			}
		})
	}
	for _, p := range parseTree(t) {
		for name, file := range p.files {
			if !p.library() || strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, missing := range undocumented(file) {
				t.Errorf("%s: %s has no doc comment", name, missing)
			}
		}
	}
}

func parse(t *testing.T, source string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// privateWords are what a reader elsewhere can't look up: a path of one machine, a number
// in someone's tracker. The expressions are written so that they don't match themselves.
var privateWords = regexp.MustCompile(`/[w]ork/|(?i:\bissue [#]?[0-9])`)

func TestFilesSpeakForThemselves(t *testing.T) {
	for _, bad := range []string{"see /" + "work/notes", fmt.Sprintf("fixes Issue #%d", 7), fmt.Sprintf("(issue %d)", 12)} {
		if !privateWords.MatchString(bad) {
			t.Errorf("the rule lets %q pass", bad)
		}
	}
	for _, good := range []string{"go.dev/issue/75804", "a network issue", "/workers/3"} {
		t.Run(good, func(t *testing.T) {
			if privateWords.MatchString(good) {
				t.Errorf("the rule stops %q", good)
			}
		})
	}
	walk(t, func(name string) {
		text, err := os.ReadFile(name)
		if err != nil || bytes.IndexByte(text, 0) >= 0 { // a binary, or gone since it was listed
			return
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if found := privateWords.Find(line); found != nil {
				t.Errorf("%s:%d mentions %q", name, i+1, found)
			}
		}
	})
}

// scriptCall finds the command that a script calls, also through a local name for
// redis.call.
var scriptCall = regexp.MustCompile(`\bp?call\(\s*['"]([A-Za-z]+)['"]`)

// notGranted names the commands in script that the ACL rule acl doesn't allow.
func notGranted(acl, script string) []string {
	granted := strings.Fields(acl)
	var missing []string
	for _, call := range scriptCall.FindAllStringSubmatch(script, -1) {
		command := strings.ToLower(call[1])
		if !slices.Contains(granted, "+"+command) && !slices.Contains(missing, command) {
			missing = append(missing, command)
		}
	}
	return missing
}

func TestACLRuleGrantsEveryCommand(t *testing.T) {
	const script = "redis.call('TIME') call( \"HSET\", k) redis.pcall('DEL', k) redis.call('hset', k) recall('KEYS')"
	if got := strings.Join(notGranted("-@all +time +hsetnx", script), " "); got != "hset del" {
		t.Errorf("not granted: got %q, want hset and del", got)
	}
	security, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	acl := regexp.MustCompile(`(?m)^ +user \S+ on .*$`).Find(security)
	walk(t, func(name string) {
		if !strings.HasSuffix(name, ".lua") || testPackage(path.Dir(name)) {
			return
		}
		script, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			return
		}
		for _, command := range notGranted(string(acl), string(script)) {
			t.Errorf("%s calls %s, which the ACL rule in SECURITY.md doesn't grant", name, command)
		}
	})
}

// asvs are the items of OWASP's ASVS 5.0 about sessions and their cookies: each has a row
// in SECURITY.md.
var asvs = strings.Fields(`7.1.1 7.1.2 7.1.3 7.2.1 7.2.2 7.2.3 7.2.4 7.3.1 7.3.2 7.4.1 7.4.2 7.4.3 7.4.4 7.4.5
	7.5.1 7.5.2 7.5.3 7.6.1 7.6.2 3.3.1 3.3.2 3.3.3 3.3.4 3.5.1 3.5.2 3.5.3`)

var (
	asvsRow  = regexp.MustCompile(`(?m)^\| ([0-9]+\.[0-9]+\.[0-9]+) \|.*$`)
	testName = regexp.MustCompile(`\bTest\w+`)
)

// asvsProblems says what is wrong with the table of items in text: an item without a row,
// a row that says neither who sees to it nor which test shows it, a test that isn't
// there.
func asvsProblems(text string, items []string, tests map[string]bool) (problems []string) {
	rows := map[string]string{}
	for _, m := range asvsRow.FindAllStringSubmatch(text, -1) {
		if rows[m[1]] != "" {
			problems = append(problems, m[1]+" has two rows")
		}
		rows[m[1]] = m[0]
	}
	for _, item := range items {
		cells := strings.Split(strings.Trim(rows[item], "| "), " | ")
		if len(cells) != 5 {
			problems = append(problems, fmt.Sprintf("%s: %d cells, want a row of 5", item, len(cells)))
			continue
		}
		if who := cells[2]; !slices.Contains([]string{"default", "call", "yours"}, who) {
			problems = append(problems, item+": "+who+" is not who sees to it")
		}
		names := testName.FindAllString(cells[4], -1)
		if len(names) == 0 || strings.Join(names, ", ") != cells[4] {
			problems = append(problems, item+": want names of tests, not "+cells[4])
		}
		for _, name := range names {
			if !tests[name] {
				problems = append(problems, item+": there is no "+name)
			}
		}
	}
	return problems
}

func TestASVSTableNamesTests(t *testing.T) {
	const row = "| 1.2.3 | x | call | y | TestA, TestB |\n"
	for _, c := range []struct {
		name, text, problem string
	}{
		{"all there", row, ""},
		{"no row", "1.2.3", "1.2.3: 1 cells"},
		{"two rows", row + row, "two rows"},
		{"nobody sees to it", strings.Replace(row, "call", "later", 1), "later"},
		{"a test that is not there", strings.Replace(row, "TestB", "TestC", 1), "no TestC"},
		{"no test", strings.Replace(row, "TestA, TestB", "obvious", 1), "obvious"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(asvsProblems(c.text, []string{"1.2.3"}, map[string]bool{"TestA": true, "TestB": true}), "; ")
			if (got == "") != (c.problem == "") || !strings.Contains(got, c.problem) {
				t.Errorf("got %q, want %q", got, c.problem)
			}
		})
	}
	tests := map[string]bool{}
	for _, p := range parseTree(t) {
		for name, file := range p.files {
			for _, decl := range file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if ok && f.Recv == nil && strings.HasSuffix(name, "_test.go") {
					tests[f.Name.Name] = true
				}
			}
		}
	}
	security, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range asvsProblems(string(security), asvs, tests) {
		t.Errorf("SECURITY.md, %s", problem)
	}
}
