// Package limittest has the references that the tests of package ratelimit compare the
// limit scripts with.
//
//   - [Ideal] knows the true instant of every use. The promises about limits refer to it.
//   - [Model] follows the same rules as the scripts, in plain Go. It predicts each reply
//     and the contents of each key, to the microsecond.
//   - [World] runs the scripts on a server, with a clock of its own, and compares each
//     reply and each key with both.
//   - [Kind] draws random traces and runs them in a World.
//
// Instants are in unix µs, durations in µs, costs and quotas in permits.
package limittest
