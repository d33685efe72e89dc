package gatekit_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/gatekit/gatekit/session/blob"
)

func TestOpenNamesTheWrongOption(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	for _, c := range []struct {
		name   string
		client gatekit.Client
		opts   gatekit.Options
		want   string
	}{
		{"no client", nil, gatekit.Options{}, "client is nil"},
		{"braces in the prefix", client, gatekit.Options{Prefix: "{a}"}, "Prefix"},
		{"short budget", client, gatekit.Options{Budget: time.Microsecond}, "Budget 1µs: want 1ms to 10s"},
		{"long budget", client, gatekit.Options{Budget: time.Minute}, "Budget 1m0s: want 1ms to 10s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := gatekit.Open(c.client, c.opts)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "gatekit: ") {
				t.Errorf("got %v, want an error of gatekit with %q", err, c.want)
			}
			if c.client == nil {
				return
			}
			kv, err := gatekit.Open(c.client, gatekit.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := kv.With(c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("With: got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// take spends one permit of 1,000 and returns what remains.
func take(t *testing.T, kv *gatekit.Redis) int64 {
	t.Helper()
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := limiter.Take(t.Context(), ratelimit.MustPolicy("open", ratelimit.PerHour(1000)), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if d.Degraded != nil {
		t.Fatal(d.Degraded)
	}
	return d.Remaining
}

func TestWithIsAnotherPrefixOnTheSameClient(t *testing.T) {
	client := redistest.Embedded(t).Client(t)
	kv, err := gatekit.Open(client, gatekit.Options{Prefix: "one", Budget: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	other, err := kv.With(gatekit.Options{Prefix: "other"})
	if err != nil {
		t.Fatal(err)
	}
	same, err := kv.With(gatekit.Options{Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		kv   *gatekit.Redis
		want int64
	}{{"the first", kv, 999}, {"another prefix", other, 999}, {"another budget", same, 998}} {
		t.Run(c.name, func(t *testing.T) {
			if got := take(t, c.kv); got != c.want {
				t.Errorf("%d remain, want %d", got, c.want)
			}
		})
	}
	if err := errors.Join(kv.Close(), other.Close(), same.Close()); err != nil {
		t.Error(err)
	}
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("Close took the client along, which is the program's: %v", err)
	}
}

// TestConnectEndsWhatItStarted: [redistest.Main] finds goroutines that are left over.
func TestConnectEndsWhatItStarted(t *testing.T) {
	kv, err := gatekit.Connect(t.Context(), redistest.Single(t).URL(), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	derived, err := kv.With(gatekit.Options{Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := derived.Close(); err != nil {
		t.Fatal(err)
	}
	if got := take(t, kv); got != 999 {
		t.Errorf("%d remain, want 999: a derived Redis closed the client", got)
	}
	manager, err := session.New(kv, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := manager.RevokeUser(context.Background(), "alice"); !errors.Is(err, gatekit.ErrUnavailable) {
		t.Errorf("after Close: got %v, want ErrUnavailable", err)
	}
}

func TestConnectKeepsThePasswordToItself(t *testing.T) {
	for _, url := range []string{"", "nonsense", "redis://:s3cret@host:port:port", "http://:s3cret@host", "redis://:s3cret@host/db%zz"} {
		kv, err := gatekit.Connect(t.Context(), url, gatekit.Options{})
		if err == nil {
			_ = kv.Close()
			t.Errorf("%q: no error", url)
			continue
		}
		if strings.Contains(err.Error(), "s3cret") || !strings.HasPrefix(err.Error(), "gatekit: ") {
			t.Errorf("%q: got %q, want an error of gatekit without the password", url, err)
		}
	}
	if _, err := gatekit.Connect(t.Context(), "redis://127.0.0.1:1", gatekit.Options{Prefix: "{a}"}); err == nil {
		t.Error("a wrong prefix: no error")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := gatekit.Connect(ended, "redis://127.0.0.1:1", gatekit.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: got %v", err)
	}
}

// TestLoggerIsTheDefaultOne: what Redis has to say is heard unless a program asks for
// silence.
func TestLoggerIsTheDefaultOne(t *testing.T) {
	var heard strings.Builder
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&heard, nil)))
	defer slog.SetDefault(old)
	careless := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer careless.Close()
	if _, err := gatekit.Open(careless, gatekit.Options{Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if heard.Len() > 0 {
		t.Errorf("with a logger that is silent: %s", heard.String())
	}
	if _, err := gatekit.Open(careless, gatekit.Options{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(heard.String(), "ContextTimeoutEnabled") {
		t.Errorf("without a logger the default one heard %q, want a word about ContextTimeoutEnabled", heard.String())
	}
}

// TestNilRedis: a Redis that was not opened is named at construction.
func TestNilRedis(t *testing.T) {
	_, noManager := session.New(nil, session.Options{})
	_, noBlobs := blob.New(nil, blob.Options{})
	_, noLimiter := ratelimit.New(nil, ratelimit.Options{})
	for _, err := range []error{noManager, noBlobs, noLimiter} {
		if err == nil || !strings.Contains(err.Error(), "gatekit.Open") {
			t.Errorf("got %v, want an error that names gatekit.Open", err)
		}
	}
}

// TestErrorsAndDefaults: the names that programs compare with say what they are.
func TestErrorsAndDefaults(t *testing.T) {
	if !errors.Is(gatekit.ErrRefused, gatekit.ErrUnavailable) || errors.Is(gatekit.ErrUnknownOutcome, gatekit.ErrRefused) {
		t.Error("ErrRefused is ErrUnavailable, and ErrUnknownOutcome is not ErrRefused")
	}
	opts, err := gatekit.RecommendedOptions("redis://localhost:6379")
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewUniversalClient(opts)
	defer func() { _ = client.Close() }()
	if problems := gatekit.CheckClient(client, gatekit.DefaultBudget); problems != nil {
		t.Errorf("the recommended options: got %q, want none", problems)
	}
	if _, err := gatekit.Open(client, gatekit.Options{Prefix: gatekit.DefaultPrefix, Budget: gatekit.DefaultBudget}); err != nil {
		t.Errorf("the defaults, said: %v", err)
	}
}
