// Package compare runs gatekit beside published rate limiters and session kits, through
// their public API and on real Redis servers, and prints what each of them did:
//
//	go test -count=1 -run TestTables
//
// The test measures every cell of the tables anew. It fails when gatekit misses one of
// its own promises, never because of another kit's results.
//
// It is a module of its own, so that programs that import gatekit don't get the other
// kits into their go.sum.
package compare
