package redistest

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// ServerCPU is the processor time that the servers behind the client have used since they
// were started, of a cluster the sum over its masters. A busy machine lengthens
// wall-clock times; it does not lengthen this.
func ServerCPU(tb testing.TB, client redis.UniversalClient) (used time.Duration) {
	tb.Helper()
	for _, info := range infos(tb, client, "cpu") {
		for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
			seconds, err := strconv.ParseFloat(field(info, name), 64)
			if err != nil {
				tb.Fatal("redistest: this server does not report its processor time")
			}
			used += time.Duration(seconds * float64(time.Second))
		}
	}
	return used
}

// OwnCPU is the processor time that this process has used. It is 0 on systems that do not
// tell it.
func OwnCPU() time.Duration { return ownCPU() }
