package session_test

import (
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/session"
)

// sessionOptions has a name of its own beside gatekit.Options.
type sessionOptions = session.Options

// settings of a site: its manager's, and those of the Redis that it is opened on.
type settings struct {
	sessionOptions
	gatekit.Options
}
