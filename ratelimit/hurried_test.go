package ratelimit_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/ratelimit"
)

// ample is a budget that no busy machine uses up.
const ample = 5 * time.Second

// hurriedLimiter returns a limiter that reaches a Redis of its own through a proxy. The
// proxy delays each reply.
func hurriedLimiter(t *testing.T, budget, delay time.Duration) (*ratelimit.Limiter, *outages, *redistest.Proxy) {
	t.Helper()
	proxy := redistest.NewProxy(t, redistest.NewSingle(t).Addrs()[0])
	client, err := store.Connect("redis://"+proxy.Addr(), budget)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	seen := &outages{}
	limiter, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: budget}), ratelimit.Options{Observer: seen})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := limiter.Take(t.Context(), ratelimit.MustPolicy("first", ratelimit.PerHour(10)), "key"); err != nil || d.Degraded != nil {
		t.Fatal(err, d.Degraded)
	}
	proxy.DelayReplies(delay)
	return limiter, seen, proxy
}

// takeWithin is a call whose client sets a deadline, as gRPC clients can.
func takeWithin(limiter *ratelimit.Limiter, policy *ratelimit.Policy, key string, d time.Duration) (ratelimit.Decision, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return limiter.Take(ctx, policy, key)
}

// TestPatientCallersBesideHurriedOnes: if the short deadlines of some callers pass, that
// is no outage for the others.
func TestPatientCallersBesideHurriedOnes(t *testing.T) {
	limiter, seen, _ := hurriedLimiter(t, ample, 2*time.Millisecond)
	policy := ratelimit.MustPolicy("api", ratelimit.PerHour(4096)).OnFailure(ratelimit.FailClosed)
	var late, denied atomic.Int64
	var patient, hurried sync.WaitGroup
	stop := make(chan struct{})
	for caller := range 8 {
		hurried.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				d, err := takeWithin(limiter, policy, "hurried", time.Duration((n+caller)%5)*time.Millisecond)
				switch {
				case err == nil && d.Degraded != nil:
					t.Errorf("the fail mode answers a hurried call: %v", d.Degraded)
				case err != nil && (!errors.Is(err, context.DeadlineExceeded) || errors.Is(err, gatekit.ErrUnavailable)):
					t.Errorf("a hurried call: %v, want its context's error, and not ErrUnavailable", err)
				case err != nil:
					late.Add(1)
				}
			}
		})
	}
	for range 4 {
		patient.Go(func() {
			for range 160 {
				if d, err := limiter.Take(context.Background(), policy, "patient"); err != nil || !d.Allowed {
					denied.Add(1)
				}
			}
		})
	}
	patient.Wait()
	close(stop)
	hurried.Wait()
	if denied.Load() > 0 || late.Load() < 100 {
		t.Errorf("%d of 640 patient calls denied beside %d that were late", denied.Load(), late.Load())
	}
	if lost, back := seen.lost.Load(), seen.back.Load(); lost != 0 || back != 0 {
		t.Errorf("the observer was told %d times of losing Redis and %d times of regaining it", lost, back)
	}
}

// TestHurriedCallsAreNotAdmitted: FailOpen admits calls if Redis does not decide, not if
// the caller gives Redis too little time.
func TestHurriedCallsAreNotAdmitted(t *testing.T) {
	limiter, seen, _ := hurriedLimiter(t, ample, 20*time.Millisecond)
	policy := ratelimit.MustPolicy("api", ratelimit.PerHour(1)).OnFailure(ratelimit.FailOpen)
	if d, err := limiter.Take(t.Context(), policy, "key"); err != nil || !d.Allowed || d.Degraded != nil {
		t.Fatal(d, err)
	}
	for _, c := range []struct {
		name string
		call func(ctx context.Context) ([]ratelimit.Decision, error)
	}{
		{"Take", func(ctx context.Context) ([]ratelimit.Decision, error) {
			d, err := limiter.Take(ctx, policy, "key")
			return []ratelimit.Decision{d}, err
		}},
		{"TakeMany", func(ctx context.Context) ([]ratelimit.Decision, error) {
			return limiter.TakeMany(ctx, []ratelimit.Request{{Policy: policy, Key: "key", Cost: 1}, {Policy: policy, Key: "key", Cost: 1}})
		}},
		{"Peek", func(ctx context.Context) ([]ratelimit.Decision, error) {
			d, err := limiter.Peek(ctx, policy, "key")
			return []ratelimit.Decision{d}, err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			passed, wrong, decided := 0, 0, 0
			for range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				ds, err := c.call(ctx)
				cancel()
				byRedis := len(ds) > 0
				for _, d := range ds {
					byRedis = byRedis && d.Degraded == nil
					if d.Allowed {
						passed++
					}
				}
				switch {
				case err == nil && byRedis: // on a busy machine a timer may fire after the reply came
					decided++
				case !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, gatekit.ErrUnavailable):
					wrong++
					t.Log(err, ds)
				}
			}
			if passed > 0 || wrong > 0 {
				t.Errorf("%d of 200 calls with 1 ms passed a limit that is used up, %d errors are not the context's", passed, wrong)
			}
			t.Logf("%d of 200 were decided all the same", decided)
		})
	}
	if lost := seen.lost.Load(); lost != 0 {
		t.Errorf("the observer was told %d times of losing Redis", lost)
	}
}

// cutShort is a hook of a client. It ends each hurried call when its context ends, by an
// error that may be another than a time-out.
type cutShort struct{ err error }

func (cutShort) isHurried(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ok && time.Until(end) < ample/2
}

func (cutShort) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c cutShort) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !c.isHurried(ctx) { // a probe
			return next(ctx, cmd)
		}
		<-ctx.Done()
		cmd.SetErr(c.err)
		return c.err
	}
}

func (c cutShort) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !c.isHurried(ctx) {
			return next(ctx, cmds)
		}
		<-ctx.Done()
		for _, cmd := range cmds {
			cmd.SetErr(c.err)
		}
		return c.err
	}
}

// TestCutShortByAnyError: a call that its caller's deadline ended is no outage, whatever
// error the client returns for it.
func TestCutShortByAnyError(t *testing.T) {
	for _, err := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("operation was canceled")},
		&net.OpError{Op: "read", Net: "tcp", Err: net.ErrClosed}, io.EOF, context.DeadlineExceeded,
	} {
		client := redistest.Single(t).Client(t)
		limiter, failed := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: ample}), ratelimit.Options{})
		if failed != nil {
			t.Fatal(failed)
		}
		policy := ratelimit.MustPolicy("api", ratelimit.PerHour(1)).OnFailure(ratelimit.FailOpen)
		client.AddHook(cutShort{err})
		d, got := takeWithin(limiter, policy, "key", time.Millisecond)
		if d.Allowed || !errors.Is(got, context.DeadlineExceeded) || errors.Is(got, gatekit.ErrUnavailable) {
			t.Errorf("%v: allowed %v, error %v, want the context's error and no answer of the fail mode", err, d.Allowed, got)
		}
	}
}

// TestHurriedCallersNoticeAnOutage: a program all of whose calls have less time than the
// budget still learns that Redis is away, from the limiter's own calls; then its fail
// modes answer at once. And it learns that Redis is back.
func TestHurriedCallersNoticeAnOutage(t *testing.T) {
	const budget, hurry = 300 * time.Millisecond, 100 * time.Millisecond
	limiter, seen, proxy := hurriedLimiter(t, budget, 0)
	policy := ratelimit.MustPolicy("api", ratelimit.PerHour(4096)).OnFailure(ratelimit.FailOpen)
	proxy.BlackHole(true)
	if !eventually(func() bool {
		d, err := takeWithin(limiter, policy, "key", hurry)
		return err == nil && d.Degraded != nil && d.Allowed
	}) {
		t.Fatal("an outage is not noticed within 20 s")
	}
	if seen.lost.Load() != 1 {
		t.Errorf("the observer was told %d times of losing Redis, want once", seen.lost.Load())
	}
	proxy.BlackHole(false)
	if !eventually(func() bool {
		d, err := takeWithin(limiter, policy, "key", hurry)
		return err == nil && d.Degraded == nil && seen.back.Load() == 1
	}) {
		t.Errorf("20 s after Redis is back: the observer was told %d times", seen.back.Load())
	}
}

// TestHurriedCallOfALostReply: the error says that the cost may have been spent.
func TestHurriedCallOfALostReply(t *testing.T) {
	limiter, _, _ := hurriedLimiter(t, ample, 300*time.Millisecond)
	policy := ratelimit.MustPolicy("api", ratelimit.PerHour(10)).OnFailure(ratelimit.FailOpen)
	_, err := takeWithin(limiter, policy, "key", 100*time.Millisecond)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, gatekit.ErrUnknownOutcome) || errors.Is(err, gatekit.ErrUnavailable) {
		t.Errorf("the reply came too late: %v; want the context's error, ErrUnknownOutcome, and not ErrUnavailable", err)
	}
}
