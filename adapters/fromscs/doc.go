// Package fromscs reads the sessions that scs (github.com/alexedwards/scs/v2, with
// goredisstore or redisstore) left in Redis. With it the switch to gatekit logs nobody
// out. Most programs need two names: [New] makes a reader of [Options], and
// [session.Options.Legacy] takes it.
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
// The reader writes and deletes nothing of scs. The README beside this file says what
// changes for handlers, how to roll out, and how to end the transition.
package fromscs
