// Package ratelimittest holds what package ratelimit and its scripts are measured
// against. Only tests import it.
//
//   - [Ideal] is the truth: every use at its true instant. What a limit promises is
//     stated in its terms.
//   - [Model] is the rules once more, in plain Go: it predicts each reply and the
//     contents of each key, to the microsecond.
//   - [World] drives the scripts by a clock of its own, on any server, and holds each
//     reply against both.
//   - [Rival] are the usual other algorithms, and [Attack] the search for the worst that
//     a client can get out of one.
//   - [History] is a limit under concurrency, to be checked for linearizability.
//
// Instants are unix µs, durations µs, costs and quotas permits.
package ratelimittest
