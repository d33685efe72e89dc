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
	for _, s := range lua.All() {
		if s.Walks {
			fmt.Println(s.Name, "walks a user's sessions")
		}
	}
	// Output:
	// limit_reset true
	// 40 digits
	// session_carry walks a user's sessions
	// session_epoch walks a user's sessions
	// session_list walks a user's sessions
	// session_login walks a user's sessions
	// session_revoke walks a user's sessions
	// session_revoke_page walks a user's sessions
	// session_settle walks a user's sessions
}
