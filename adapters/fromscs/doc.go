// Package fromscs reads the sessions that scs (github.com/alexedwards/scs/v2, with
// goredisstore or redisstore) left in Redis, for [session.Options.Legacy]: the switch to
// gatekit logs nobody out.
//
//	reader, err := fromscs.New(fromscs.Options{
//		Map: func(values map[string]any) (session.Carried, error) {
//			user, _ := values["userID"].(string)
//			return session.Carried{UserID: user, Values: map[string]any{"cart": values["cart"]}}, nil
//		},
//	})
//	kv, err := gatekit.Open(client, gatekit.Options{})
//	m, err := session.New(kv, session.Options{Legacy: reader})
//
// It writes and deletes nothing that is scs's. The README beside this file says what
// changes for handlers, how to roll out, and how to end the transition.
package fromscs
