// Package foreigntest holds the tests of what stands in for other kits against those kits
// themselves: adapters/dropin and adapters/fromscs, and the benchmark of sessions beside
// scs. They are a module of their own, so that nobody who imports the kit gets those kits
// into the list of modules.
package foreigntest
