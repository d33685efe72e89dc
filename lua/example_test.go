package lua_test

import (
	"fmt"

	"github.com/gatekit/gatekit/lua"
)

// Who audits what runs on their Redis reads the scripts as they are sent.
func Example() {
	s := lua.Find("limit_reset")
	fmt.Println(s.Name, s.Repeatable)
	fmt.Println(len(s.SHA1), "digits")
	// Output:
	// limit_reset true
	// 40 digits
}
