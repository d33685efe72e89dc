// Package compare runs gatekit beside published rate limiters and session kits, through
// their public API and on real Redis servers, and prints what each of them did:
//
//	go test -count=1 -run TestTables
//
// Nothing in the tables is written down beforehand. The test fails when gatekit misses
// one of its own promises, never because of what another kit does.
//
// It is a module of its own, so that the kits compared here reach nobody else's go.sum.
package compare
