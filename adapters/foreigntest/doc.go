// Package foreigntest holds the tests of adapters/dropin and adapters/fromscs with the
// kits that these stand in for, and the benchmark of sessions beside scs. It is a module
// of its own, so that programs that import gatekit don't get those kits into their list
// of modules.
package foreigntest
