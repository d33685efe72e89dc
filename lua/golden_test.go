package lua

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the joined scripts to testdata/joined")

// TestJoinedScripts shows in a review what a change of a fragment does to each script
// that is sent.
func TestJoinedScripts(t *testing.T) {
	known := map[string]bool{}
	for _, s := range All() {
		file := filepath.Join("testdata", "joined", s.Name+".lua")
		known[file] = true
		if *update {
			if err := os.WriteFile(file, []byte(s.Text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if s.Text != string(want) {
			t.Errorf("%s is not what it is joined to; if the change is meant: go test -run TestJoinedScripts ./lua -args -update", file)
		}
	}
	files, _ := filepath.Glob("testdata/joined/*")
	for _, file := range files {
		if !known[file] {
			t.Errorf("%s belongs to no script", file)
		}
	}
}

// TestFindOfNoScript: a name that is not in the list is a mistake of the program.
func TestFindOfNoScript(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Find returned")
		}
	}()
	Find("no_such")
}
