package store

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/lua"
)

// A fragment is a file in parts/.
type fragment struct {
	source
	text  string
	needs map[string][]string // by fragment, the names that it uses of it
}

func readFragments(t *testing.T) map[string]*fragment {
	t.Helper()
	fragments := map[string]*fragment{}
	for _, file := range luaFiles(t, luaDir+"/parts") {
		name := strings.TrimSuffix(file, ".lua")
		raw, err := files.ReadFile(path.Join("parts", file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(raw), "-- "+name+": ") {
			t.Errorf("parts/%s does not begin with its name", file)
		}
		text := code(path.Join("parts", file))
		fragments[name] = &fragment{readSource(text), text, readNeeds(t, file, string(raw))}
	}
	return fragments
}

// readNeeds reads "-- NEEDS now: call, now; int: int", which may go on in further lines,
// from the comment that opens a fragment.
func readNeeds(t *testing.T, file, raw string) map[string][]string {
	t.Helper()
	header, line := regexp.MustCompile(`^(-- .*\n)+`).FindString(raw), ""
	if m := regexp.MustCompile(`(?m)^-- NEEDS (.*(\n-- {5,}.*)*)$`).FindStringSubmatch(header); m != nil {
		line = regexp.MustCompile(`\n-- +`).ReplaceAllString(m[1], " ")
	}
	needs := map[string][]string{}
	switch line {
	case "":
		t.Errorf("parts/%s has no NEEDS line", file)
	case "nothing":
	default:
		for entry := range strings.SplitSeq(line, "; ") {
			from, names, _ := strings.Cut(entry, ": ")
			needs[from] = strings.Split(names, ", ")
		}
	}
	return needs
}

// problems returns where the NEEDS line of a fragment differs from what its code uses.
func (f *fragment) problems(fragments map[string]*fragment) (problems []string) {
	listed := map[string]bool{}
	for from, names := range f.needs {
		for _, name := range names {
			listed[name] = true
			if fragments[from] == nil || !fragments[from].declared[name] {
				problems = append(problems, from+" has no "+name)
			} else if !f.missing[name] {
				problems = append(problems, "does not use "+name+" of "+from)
			}
		}
	}
	for name := range f.missing {
		if !listed[name] {
			problems = append(problems, "uses "+name+", which NEEDS does not list")
		}
	}
	return problems
}

// partsProblems returns where the PARTS line of a script differs from the fragments that
// its body, and those fragments, use.
func partsProblems(parts []string, body string, fragments map[string]*fragment) (problems []string) {
	text, used := "", readSource(body).missing
	for i, name := range parts {
		f := fragments[name]
		if f == nil {
			return append(problems, "there is no "+name)
		}
		text += f.text
		for from := range f.needs {
			if !slices.Contains(parts[:i], from) {
				problems = append(problems, name+" needs "+from+" ahead of it")
			}
		}
	}
	for name := range readSource(text + body).missing {
		problems = append(problems, "no fragment ahead of its use declares "+name)
	}
	for i := len(parts) - 1; i >= 0; i-- {
		f := fragments[parts[i]]
		if len(f.declared) == 0 { // it decides for the script, and is no library
			used = union(used, f.missing)
			continue
		}
		needed := false
		for name := range f.declared {
			needed = needed || used[name]
		}
		if !needed {
			problems = append(problems, "nothing uses "+parts[i])
		}
		used = union(used, f.missing)
	}
	return problems
}

func union(a, b map[string]bool) map[string]bool {
	both := map[string]bool{}
	for _, names := range []map[string]bool{a, b} {
		for name := range names {
			both[name] = true
		}
	}
	return both
}

// TestFragmentsNameWhatTheyNeed: the NEEDS line of a fragment names the source of each
// name that the fragment uses and does not declare.
func TestFragmentsNameWhatTheyNeed(t *testing.T) {
	fragments := readFragments(t)
	functions := map[string]string{}
	for name, f := range fragments {
		for _, problem := range f.problems(fragments) {
			t.Errorf("parts/%s.lua: %s", name, problem)
		}
		for _, m := range regexp.MustCompile(`(?m)^local function (\w+)`).FindAllStringSubmatch(f.text, -1) {
			if other := functions[m[1]]; other != "" {
				t.Errorf("parts/%s.lua and parts/%s.lua both define %s", name, other, m[1])
			}
			functions[m[1]] = name
		}
	}
}

// TestPartsAreWhatScriptsUse: the PARTS line of a script has each fragment that the
// script uses, behind those that the fragment needs, and no other.
func TestPartsAreWhatScriptsUse(t *testing.T) {
	fragments := readFragments(t)
	for _, s := range lua.All() {
		for _, problem := range partsProblems(s.Parts, code(s.Name+".lua"), fragments) {
			t.Errorf("%s: %s", s.Name, problem)
		}
	}
}

// TestPartsRulesCatch breaks each rule once.
func TestPartsRulesCatch(t *testing.T) {
	fragments := map[string]*fragment{}
	for name, text := range map[string]string{"a": "local one = 1\n", "b": "local function two() return one end\n"} {
		fragments[name] = &fragment{source: readSource(text), text: text, needs: map[string][]string{}}
	}
	fragments["b"].needs["a"] = []string{"one"}
	for _, c := range []struct {
		name, parts, body, want string
	}{
		{"good", "a b", "return {two()}", ""},
		{"missing", "a", "return {two()}", "no fragment ahead of its use declares two"},
		{"order", "b a", "return {two()}", "b needs a ahead of it"},
		{"unneeded", "a b", "return {one}", "nothing uses b"},
		{"unknown", "a c", "return {one}", "there is no c"},
	} {
		got := partsProblems(strings.Fields(c.parts), c.body, fragments)
		if c.want == "" && len(got) > 0 || c.want != "" && !slices.Contains(got, c.want) {
			t.Errorf("%s: problems %q, want %q", c.name, got, c.want)
		}
	}
	wrong := fragment{source: readSource("local function f() return one + x end"), needs: map[string][]string{"a": {"two"}}}
	for _, want := range []string{"a has no two", "uses one, which NEEDS does not list", "uses x, which NEEDS does not list"} {
		if got := wrong.problems(fragments); !slices.Contains(got, want) {
			t.Errorf("problems %q, want %q", got, want)
		}
	}
	idle := fragment{source: readSource("local function f() return 1 end"), needs: map[string][]string{"a": {"one"}}}
	if got := idle.problems(fragments); !slices.Equal(got, []string{"does not use one of a"}) {
		t.Errorf("problems %q", got)
	}
}
