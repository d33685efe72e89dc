package gatekit_test

import (
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// uses are the names that files outside of a package write down.
type uses struct {
	names   map[string]bool // import path + "." + name
	members map[string]bool // of methods and fields, whatever they belong to
}

// add takes up a file's uses of other packages' names.
func (u uses) add(file *ast.File) {
	paths := map[string]string{} // by the name that the file gives a package
	for _, imp := range file.Imports {
		p, _ := strconv.Unquote(imp.Path.Value) // the parser has checked it
		name := path.Base(p)
		if imp.Name != nil {
			name = imp.Name.Name
		}
		paths[name] = p
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			u.members[n.Sel.Name] = true
			if id, ok := n.X.(*ast.Ident); ok && paths[id.Name] != "" {
				u.names[paths[id.Name]+"."+n.Sel.Name] = true
			}
		case *ast.FuncDecl:
			u.members[n.Name.Name] = n.Recv != nil || u.members[n.Name.Name] // of an interface, perhaps
		case *ast.KeyValueExpr:
			if id, ok := n.Key.(*ast.Ident); ok {
				u.members[id.Name] = true
			}
		}
		return true
	})
}

// ofTheLanguage are methods that packages of Go call by an interface, not a program.
var ofTheLanguage = []string{
	"Error", "Unwrap", "Is", "As", "String", "Format", "GoString", "LogValue", "MarshalJSON", "UnmarshalJSON",
}

// unused names what a package exports and no other uses. A type counts as used where a
// declaration of the package mentions it, since a program gets its values there.
func unused(importPath string, files []*ast.File, u uses) (names []string) {
	mentioned := map[string]int{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				mentioned[id.Name]++
			}
			return true
		})
	}
	for _, file := range files {
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				name, r := d.Name.Name, receiver(d)
				switch {
				case !d.Name.IsExported() || r != "" && !ast.IsExported(r):
				case r == "" && !u.names[importPath+"."+name]:
					names = append(names, name)
				case r != "" && !u.members[name] && !slices.Contains(ofTheLanguage, name):
					names = append(names, r+"."+name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.ValueSpec:
						for _, id := range s.Names {
							if id.IsExported() && !u.names[importPath+"."+id.Name] {
								names = append(names, id.Name)
							}
						}
					case *ast.TypeSpec:
						if s.Name.IsExported() && !u.names[importPath+"."+s.Name.Name] && mentioned[s.Name.Name] < 2 {
							names = append(names, s.Name.Name)
						}
						for _, field := range members(s) {
							for _, id := range field.Names {
								if id.IsExported() && !u.members[id.Name] {
									names = append(names, s.Name.Name+"."+id.Name)
								}
							}
						}
					}
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

func TestUseRuleCatches(t *testing.T) {
	u := uses{map[string]bool{}, map[string]bool{}}
	u.add(parse(t, `package y
import ("example.com/x"; z "example.com/x")
func (observer) Told() {}
func Untold() {}
var _ = x.F(x.Options{A: 1}).M()
var _ = z.V`))
	source := parse(t, `package x
type T struct{}
func F(Options) T { return T{} }
func G() {}
func (T) M() {}
func (T) N() {}
func (T) String() string { return "" }
func (t) P() {}
type Options struct { A, B int; c int }
type Alone int
type Observer interface { Told(); Untold() }
const C = 1
var V, w int`)
	if got, want := strings.Join(unused("example.com/x", []*ast.File{source}, u), " "), "Alone C G Observer Observer.Untold Options.B T.N"; got != want {
		t.Errorf("unused: got %q, want %q", got, want)
	}
}

// A name is exported when a user needs it, so an example, an adapter or a test from
// outside uses it.
func TestExportedNamesAreUsed(t *testing.T) {
	all := parseTree(t)
	for _, p := range all {
		if !p.library() {
			continue
		}
		u := uses{map[string]bool{}, map[string]bool{}}
		var own []*ast.File
		for _, other := range all {
			for name, file := range other.files {
				outside := other.dir != p.dir || strings.HasSuffix(file.Name.Name, "_test")
				switch {
				case outside:
					u.add(file)
				case !strings.HasSuffix(name, "_test.go"):
					own = append(own, file)
				}
			}
		}
		if names := unused(path.Join(module, p.dir), own, u); len(names) > 0 {
			t.Errorf("package %s exports what nobody uses: %s", p.dir, strings.Join(names, ", "))
		}
	}
}
