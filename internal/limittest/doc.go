// Package limittest holds what the tests of package ratelimit measure the limit scripts
// against.
//
//   - [Ideal] knows the true instant of every use. The promises about limits are stated
//     in its terms.
//   - [Model] has the rules of the scripts once more, in plain Go. It predicts each reply
//     and the contents of each key, to the microsecond.
//   - [World] asks the scripts on any server by a clock of its own, and compares each
//     reply and each key with both.
//   - [Kind] draws random traces and runs them in a World.
//
// Instants are in unix µs, durations in µs, costs and quotas in permits.
package limittest
