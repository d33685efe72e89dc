// Package redistest starts real Redis servers for tests, and breaks them on request.
//
// A test asks for a deployment and gets a [Server]. Nothing has to run beforehand;
// redis-server and redis-cli have to be installed:
//
//	func TestMain(m *testing.M) { redistest.Main(m) }
//
//	func TestTake(t *testing.T) {
//		redistest.Each(t, func(t *testing.T, s *redistest.Server) {
//			client, prefix := s.Client(t), redistest.Prefix(t)
//			...
//		})
//	}
//
// [Single], [Cluster] and [Sentinel] are shared: started once in a test process, on first
// use, and used by all its tests at once. Tests keep apart by [Prefix], so they may run
// in parallel and never flush. A test that freezes, kills or configures a server takes
// one of its own with [NewSingle], [NewCluster], [NewSentinel] or [NewSingleWithClock].
// [Embedded] is a Redis inside the process (miniredis) and always a new one. [NewProxy]
// stands between a client and a server to count what passes and to lose, delay or cut it.
//
// # When Redis is not installed
//
// Tests that need it skip and say what to install. They fail instead when the environment
// variable CI is not empty or GATEKIT_REQUIRE_REDIS is 1, so that a pipeline cannot turn
// green by testing nothing.
//
// # Nothing is left behind
//
// [Main] stops the shared servers and removes their files. When the test process dies in
// any other way (a panic, a timeout, kill -9), Linux kills the servers with it, and the
// next run removes the files. Several test binaries may run at the same time, as `go test
// ./...` does: they never share a server or a port.
//
// Everything here is safe for concurrent use. Freezing a server needs Linux or macOS,
// moving its clock needs Linux.
package redistest
