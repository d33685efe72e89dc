package compare

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
)

// A kit is a column of a table: a published package, under its usual name.
type kit struct {
	name   string
	module string // whose version is printed; empty for gatekit
}

func (k kit) about() kit { return k }

func (k kit) own() bool { return k.module == "" }

// title returns the kit's name with its version. It reads go.mod, since a test binary
// doesn't know the versions of its modules.
func (k kit) title() string {
	gomod, _ := os.ReadFile("go.mod")
	for line := range strings.Lines(string(gomod)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == k.module {
			return k.name + " " + f[1]
		}
	}
	return k.name
}

// A finding is what one experiment found about one kit.
type finding struct {
	cell string
	kept bool // gatekit's promise held; ignored for other kits
}

// A check is a row of a table: one experiment, run in the same way on every kit.
type check[K interface{ about() kit }] struct {
	name string // of the subtest
	row  string // the head of the row
	run  func(t *testing.T, k K) (finding, error)
}

// A table collects the findings of experiments that run at the same time.
type table struct {
	corner  string
	rows    []string
	columns []string

	mu    sync.Mutex // guards cells
	cells map[[2]int]string
}

// measure registers a parallel subtest for each check and kit. The table is complete when
// they have ended.
func measure[K interface{ about() kit }](t *testing.T, corner string, checks []check[K], kits []K) *table {
	tab := &table{corner: corner, cells: map[[2]int]string{}}
	for _, k := range kits {
		tab.columns = append(tab.columns, k.about().title())
	}
	for row, c := range checks {
		tab.rows = append(tab.rows, c.row)
		for column, k := range kits {
			t.Run(c.name+"/"+k.about().name, func(t *testing.T) {
				t.Parallel()
				f, err := attempt(t, c.run, k)
				if err != nil {
					f = finding{cell: "not measured: " + brief(err)}
				}
				if k.about().own() && !f.kept {
					t.Errorf("%s: %q is not what gatekit promises (error: %v)", c.row, f.cell, err)
				}
				tab.mu.Lock()
				defer tab.mu.Unlock()
				tab.cells[[2]int{row, column}] = f.cell
			})
		}
	}
	return tab
}

// attempt runs an experiment, and again if it has no result, since the machine may have
// been busy. If a kit panics, it is not measured; the others still are.
func attempt[K any](t *testing.T, run func(*testing.T, K) (finding, error), k K) (f finding, err error) {
	once := func() (f finding, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		return run(t, k)
	}
	f, err = once()
	for wait := 200 * time.Millisecond; err != nil && wait < 2*time.Second; wait *= 2 {
		time.Sleep(wait)
		f, err = once()
	}
	return f, err
}

// brief returns an error as text for a cell.
func brief(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if len(text) > 60 {
		text = text[:60] + "..."
	}
	return strings.ReplaceAll(text, "|", "/")
}

// markdown renders the table. A cell that no experiment filled says so.
func (tab *table) markdown() string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | %s |\n|%s\n", tab.corner, strings.Join(tab.columns, " | "),
		strings.Repeat("---|", 1+len(tab.columns)))
	for row, name := range tab.rows {
		fmt.Fprintf(&b, "| %s |", name)
		for column := range tab.columns {
			cell, ok := tab.cells[[2]int{row, column}]
			if !ok {
				cell = "not measured"
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestTableSaysWhatWasNotMeasured(t *testing.T) {
	redistest.Long(t)
	tab := &table{corner: "x", columns: []string{"a", "b"}, rows: []string{"r"}, cells: map[[2]int]string{{0, 1}: "7"}}
	if got, want := tab.markdown(), "| x | a | b |\n|---|---|---|\n| r | not measured | 7 |\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	calls := 0
	_, err := attempt(t, func(*testing.T, kit) (finding, error) { calls++; panic("a|b\nc") }, kit{})
	if err == nil || calls < 2 || brief(err) != "panic: a/b" {
		t.Errorf("a kit that panics: %d calls, error %v", calls, err)
	}
}
