package fromscs_test

import (
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/session"
)

// settings of a site: its manager's, and those of the Redis that it is opened on.
type settings struct {
	session.Config
	gatekit.Options
}
