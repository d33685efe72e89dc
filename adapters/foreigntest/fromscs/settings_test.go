package fromscs_test

import (
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/session"
)

// sessionOptions is session.Options under another name, since settings embeds two types
// named Options.
type sessionOptions = session.Options

// settings are the options of a site: of its manager, and of its Redis.
type settings struct {
	sessionOptions
	gatekit.Options
}
