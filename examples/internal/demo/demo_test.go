package demo_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/examples/internal/demo"
	"github.com/gatekit/gatekit/examples/internal/demotest"
	"github.com/gatekit/gatekit/internal/redistest"
)

func TestMain(m *testing.M) {
	if what := os.Getenv("DEMO_CHILD"); what != "" {
		demo.Main("child", children[what])
		return
	}
	redistest.Main(m)
}

// children are programs for processes of their own, which TestMain starts.
var children = map[string]demo.Program{
	"broken": func(context.Context, []string, func(string) string, io.Writer) error {
		return errors.New("it is broken")
	},
	"help": func(context.Context, []string, func(string) string, io.Writer) error { return flag.ErrHelp },
	"ends on a signal": func(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
		if self, err := os.FindProcess(os.Getpid()); err != nil {
			return err
		} else if err := self.Signal(os.Interrupt); err != nil {
			return err
		}
		<-ctx.Done()
		_, err := io.WriteString(stdout, strings.Join(append(args, getenv("DEMO_CHILD")), ", "))
		return err
	},
}

func TestMainEnds(t *testing.T) {
	t.Parallel()
	for what, want := range map[string]struct {
		code          int
		printed, said string
	}{
		"broken":           {1, "", "child: it is broken\n"},
		"help":             {0, "", ""},
		"ends on a signal": {0, "-a, b, ends on a signal", ""},
	} {
		t.Run(what, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-a", "b")
			cmd.Env = append(os.Environ(), "DEMO_CHILD="+what)
			var said strings.Builder
			cmd.Stderr = &said
			printed, err := cmd.Output()
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != want.code || string(printed) != want.printed || said.String() != want.said {
				t.Errorf("got code %d, %q and %q, want %+v", code, printed, said.String(), want)
			}
		})
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()
	demotest.OnEachRedis(t, func(t *testing.T, url string) {
		redis, err := demo.Connect(url, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := redis.Client.Set(t.Context(), "demo", "x", 20*time.Millisecond).Err(); err != nil {
			t.Error(err)
		}
		for giveUp := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			n, err := redis.Client.Exists(t.Context(), "demo").Result()
			if n == 0 && err == nil {
				break
			}
			if err != nil || time.Now().After(giveUp) {
				t.Fatalf("a key of 20 ms does not end: %d, %v", n, err)
			}
		}
		if want := strings.TrimPrefix(url, "redis://"); strings.Join(redis.Addrs, ",") != want {
			t.Errorf("got addresses %q, want %q", redis.Addrs, want)
		}
		redis.Close()
		if err := redis.Client.Ping(t.Context()).Err(); err == nil {
			t.Error("a closed client answers")
		}
	})
	redis, err := demo.Connect("redis://:s3cret@127.0.0.1:1", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	if want := []string{"127.0.0.1:1"}; !slices.Equal(redis.Addrs, want) {
		t.Errorf("a server that is away: got addresses %q, want %q", redis.Addrs, want)
	}
	if _, err := demo.Connect("nonsense", time.Second); err == nil || !strings.Contains(err.Error(), "REDIS_URL") {
		t.Errorf("got error %v, want one about REDIS_URL", err)
	}
}

func TestServeFinishesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- demo.Serve(ctx, listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			interrupt()
			time.Sleep(100 * time.Millisecond)
			_, _ = io.WriteString(w, "done")
		}))
	}()
	if a := demotest.Send(t, "GET", "http://"+listener.Addr().String(), ""); a.Body != "done" {
		t.Errorf("got %q, want done", a.Body)
	}
	if err := <-ended; err != nil {
		t.Errorf("interrupted, got %v", err)
	}
	if err := demo.Serve(t.Context(), listener, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed listener: got %v", err)
	}
}
