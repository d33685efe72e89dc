package gatekit_test

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pointersAsErrors names the functions and methods that may return a pointer to an
// error's type, with the reason.
var pointersAsErrors = map[string]string{}

// errorTypes names the types, as package.Type, of which a value or a pointer is an error:
// they have the method, or embed a type that has it.
func errorTypes(files []*ast.File) map[string]bool {
	found := map[string]bool{"error": true}
	for size := 0; size < len(found); { // until nothing embeds what was found
		size = len(found)
		for _, file := range files {
			for _, decl := range file.Decls {
				for _, name := range errorsOf(decl, file.Name.Name, found) {
					found[file.Name.Name+"."+name] = true
				}
			}
		}
	}
	return found
}

func errorsOf(decl ast.Decl, in string, known map[string]bool) (names []string) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if r := receiver(d); r != "" && d.Name.Name == "Error" && d.Type.Params.NumFields() == 0 && d.Type.Results.NumFields() == 1 {
			return []string{r}
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			if s, ok := t.Type.(*ast.StructType); ok && slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool {
				return f.Names == nil && known[typeName(f.Type, in)]
			}) {
				names = append(names, t.Name.Name)
			}
		}
	}
	return names
}

// typeName is package.Type of T, *T, T[A] or p.T in a package, and the bare name of
// error.
func typeName(e ast.Expr, in string) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X, in)
	case *ast.IndexExpr:
		return typeName(e.X, in)
	case *ast.SelectorExpr:
		if p, ok := e.X.(*ast.Ident); ok {
			return p.Name + "." + e.Sel.Name
		}
	case *ast.Ident:
		if e.Name == "error" {
			return e.Name
		}
		return in + "." + e.Name
	}
	return ""
}

// returnsPointer reports whether a function, or one that it returns, has a result that
// points to one of the types.
func returnsPointer(f *ast.FuncType, in string, types map[string]bool) bool {
	if f.Results == nil {
		return false
	}
	return slices.ContainsFunc(f.Results.List, func(r *ast.Field) bool {
		switch t := r.Type.(type) {
		case *ast.StarExpr:
			return types[typeName(t, in)]
		case *ast.FuncType:
			return returnsPointer(t, in, types)
		}
		return false
	})
}

// nilErrors names the exported functions, methods and types of a file that return a
// pointer to an error's type. Whoever returns such a nil as an error returns an error
// that does not equal nil.
func nilErrors(file *ast.File, types map[string]bool) (names []string) {
	in := file.Name.Name
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if r := receiver(d); r != "" {
				name = r + "." + name
			}
			if ast.IsExported(name) && d.Name.IsExported() && returnsPointer(d.Type, in, types) {
				names = append(names, in+"."+name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				t, ok := spec.(*ast.TypeSpec)
				if !ok || !t.Name.IsExported() {
					continue
				}
				ast.Inspect(t.Type, func(n ast.Node) bool { // fields and methods that are functions
					if f, ok := n.(*ast.FuncType); ok && returnsPointer(f, in, types) {
						names = append(names, in+"."+t.Name.Name)
					}
					return true
				})
			}
		}
	}
	return names
}

func TestNilErrorRuleCatches(t *testing.T) {
	const types = "package x\ntype E struct{}\nfunc (*E) Error() string { return \"\" }\ntype W struct{ *E }\ntype V struct{ W }\ntype N struct{}\n"
	for _, c := range []struct{ source, found string }{
		{"func F() *E { return nil }", "x.F"},
		{"func F() (int, *E) { return 0, nil }", "x.F"},
		{"func F() func() *E { return nil }", "x.F"},
		{"func (N) M() *E { return nil }", "x.N.M"},
		{"func F() *W { return nil }", "x.F"},
		{"func F() *V { return nil }", "x.F"},
		{"type T struct{ F func() *E }", "x.T"},
		{"type I interface{ M() *E }", "x.I"},
		{"func F() error { return nil }\nfunc G(*E) {}\nfunc H() (E, bool) { return E{}, false }\nfunc I() *N { return nil }", ""},
		{"func f() *E { return nil }\ntype n struct{}\nfunc (n) M() *E { return nil }", ""},
	} {
		t.Run(fmt.Sprintf("%.40q", c.source), func(t *testing.T) {
			file := parse(t, types+c.source)
			if got := strings.Join(nilErrors(file, errorTypes([]*ast.File{file})), " "); got != c.found {
				t.Errorf("in %q: found %q, want %q", c.source, got, c.found)
			}
		})
	}
	user := parse(t, "package y\nfunc F() *x.E { return nil }")
	if got := nilErrors(user, errorTypes([]*ast.File{parse(t, types), user})); len(got) != 1 {
		t.Errorf("of another package: found %q, want y.F", got)
	}
}

// TestNoPointerIsReturnedAsError: func check() error { return m.Guard() } would fail for
// all who pass.
func TestNoPointerIsReturnedAsError(t *testing.T) {
	var files []*ast.File
	for _, p := range parseTree(t) {
		for name, file := range p.files {
			if p.library() && !strings.HasSuffix(name, "_test.go") {
				files = append(files, file)
			}
		}
	}
	types := errorTypes(files)
	if !types["gatekit.Refusal"] {
		t.Fatalf("found the errors %v, want the refusal among them", types)
	}
	for _, file := range files {
		for _, name := range nilErrors(file, types) {
			if pointersAsErrors[name] == "" {
				t.Errorf("%s returns a pointer to an error's type: return error, or the value and a bool", name)
			}
		}
	}
}

var (
	packagePrefix = regexp.MustCompile(`^[a-z0-9]+: `)
	innerPrefix   = regexp.MustCompile(`: (gatekit|session|ratelimit|blob): `)
)

// literal is the text of a string, also of one that is put together with +.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value)
		return text
	case *ast.BinaryExpr:
		return literal(e.X) + literal(e.Y)
	}
	return ""
}

// prefixProblems lists the texts of a file's errors in which the name of a package would
// stand twice, or elsewhere than in front. What is wrapped has a name in front of its own
// text: internal/errtext takes it away.
func prefixProblems(file *ast.File) (problems []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		f, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		switch name := typeName(f, ""); {
		case name == "fmt.Errorf":
			text := literal(call.Args[0])
			if strings.Contains(text, "%w") && packagePrefix.MatchString(text) || innerPrefix.MatchString(text) {
				problems = append(problems, text)
			}
		case name == "errors.New" && innerPrefix.MatchString(literal(call.Args[0])):
			problems = append(problems, literal(call.Args[0]))
		case name == "errtext.Errorf" && len(call.Args) > 1:
			if text := literal(call.Args[1]); innerPrefix.MatchString(": " + text) {
				problems = append(problems, text)
			}
		}
		return true
	})
	return problems
}

func TestPrefixRuleCatches(t *testing.T) {
	for _, c := range []struct {
		source string
		bad    bool
	}{
		{`var E = errors.New("session: gone")`, false},
		{`var E = errors.New("the session: session: gone")`, true},
		{`func f(err error) error { return fmt.Errorf("session: save: %w", err) }`, true},
		{`func f(err error) error { return fmt.Errorf("session: "+"save: %w", err) }`, true},
		{`func f(err error) error { return fmt.Errorf("save: session: %w", err) }`, true},
		{`func f(err error) error { return fmt.Errorf("%w: value", err) }`, false},
		{`func f(n int) error { return fmt.Errorf("session: %d values", n) }`, false},
		{`func f(err error) error { return errtext.Errorf("session", "save: %w", err) }`, false},
		{`func f(err error) error { return errtext.Errorf("session", "session: save: %w", err) }`, true},
	} {
		t.Run(c.source, func(t *testing.T) {
			if got := prefixProblems(parse(t, "package x\n"+c.source)); (len(got) > 0) != c.bad {
				t.Errorf("found %q, want a problem: %t", got, c.bad)
			}
		})
	}
}

// TestErrorsHaveOnePrefix: the name of the package is in front of an error's text, once.
func TestErrorsHaveOnePrefix(t *testing.T) {
	for _, p := range parseTree(t) {
		if !p.library() || within(p.dir, "internal/store") || within(p.dir, "internal/errtext") {
			continue // the store's errors are the first of a chain
		}
		for name, file := range p.files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, problem := range prefixProblems(file) {
				t.Errorf("%s: %q: wrap by errtext.Errorf", name, problem)
			}
		}
	}
}
