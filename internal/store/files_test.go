package store

import (
	"os"
	"path/filepath"
	"strings"
)

// luaDir is where the scripts are.
const luaDir = "../../lua"

// undeclared is the first line of scripts that use keys which are not in KEYS.
const undeclared = "--!df flags=allow-undeclared-keys\n"

// files reads them.
var files scriptFiles

type scriptFiles struct{}

func (scriptFiles) ReadFile(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(luaDir, name))
}

// code returns a file of the scripts without its comment lines.
func code(file string) string {
	raw, err := files.ReadFile(file)
	if err != nil {
		panic(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(raw)) {
		if bare := strings.TrimSpace(line); bare != "" && !strings.HasPrefix(bare, "--") {
			b.WriteString(line)
		}
	}
	return b.String()
}
