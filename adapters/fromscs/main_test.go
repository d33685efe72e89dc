package fromscs_test

import (
	"testing"

	"github.com/gatekit/gatekit/lua/luatest"
)

func TestMain(m *testing.M) { luatest.Main(m) }
