package lua_test

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/lua"
)

func TestRecommendedOptions(t *testing.T) {
	for _, c := range []struct {
		name, url string
		want      redis.UniversalOptions // what the URL says
		client    redis.UniversalClient  // of this type
	}{
		{"single", "redis://example.com:6380", redis.UniversalOptions{Addrs: []string{"example.com:6380"}}, &redis.Client{}},
		{"default port", "redis://example.com", redis.UniversalOptions{Addrs: []string{"example.com:6379"}}, &redis.Client{}},
		{"user, password, database", "redis://user:secret@example.com:6380/5",
			redis.UniversalOptions{Addrs: []string{"example.com:6380"}, Username: "user", Password: "secret", DB: 5}, &redis.Client{}},
		{"TLS", "rediss://:secret@example.com:6380",
			redis.UniversalOptions{Addrs: []string{"example.com:6380"}, Password: "secret", TLSConfig: &tls.Config{ServerName: "example.com"}}, &redis.Client{}},
		{"cluster", "redis://user:secret@a.example.com:1?addr=b.example.com:2&addr=c.example.com:3",
			redis.UniversalOptions{Addrs: []string{"a.example.com:1", "b.example.com:2", "c.example.com:3"}, Username: "user", Password: "secret"}, &redis.ClusterClient{}},
		{"cluster, TLS", "rediss://a.example.com:1?addr=b.example.com:2",
			redis.UniversalOptions{Addrs: []string{"a.example.com:1", "b.example.com:2"}, TLSConfig: &tls.Config{ServerName: "a.example.com"}}, &redis.ClusterClient{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := lua.RecommendedOptions(c.url)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Addrs, c.want.Addrs) || got.Username != c.want.Username || got.Password != c.want.Password || got.DB != c.want.DB {
				t.Errorf("%v, user %q, password %q, database %d; want %v, %q, %q, %d",
					got.Addrs, got.Username, got.Password, got.DB, c.want.Addrs, c.want.Username, c.want.Password, c.want.DB)
			}
			if (got.TLSConfig == nil) != (c.want.TLSConfig == nil) || got.TLSConfig != nil && got.TLSConfig.ServerName != c.want.TLSConfig.ServerName {
				t.Errorf("TLS %+v, want %+v", got.TLSConfig, c.want.TLSConfig)
			}
			wantBudgetOptions(t, got)
			client := redis.NewUniversalClient(got)
			defer client.Close()
			if reflect.TypeOf(client) != reflect.TypeOf(c.client) {
				t.Errorf("makes a %T, want a %T", client, c.client)
			}
			if problems := lua.CheckClient(client); problems != nil {
				t.Errorf("CheckClient finds %q", problems)
			}
			got.MasterName = "master"
			sentinel := redis.NewUniversalClient(got)
			defer sentinel.Close()
			if problems := lua.CheckClient(sentinel); problems != nil {
				t.Errorf("CheckClient finds with Sentinel: %q", problems)
			}
		})
	}
}

// wantBudgetOptions wants what the doc comment says, and no wait that is longer than the default budget but that for a dial,
// which ends at the deadline.
func wantBudgetOptions(t *testing.T, o *redis.UniversalOptions) {
	t.Helper()
	if !o.ContextTimeoutEnabled || o.DialerRetries != 1 || o.MaxRetries != 0 {
		t.Errorf("ContextTimeoutEnabled %v, DialerRetries %d, MaxRetries %d; want true, 1, 0", o.ContextTimeoutEnabled, o.DialerRetries, o.MaxRetries)
	}
	for name, d := range map[string]time.Duration{"ReadTimeout": o.ReadTimeout, "WriteTimeout": o.WriteTimeout, "PoolTimeout": o.PoolTimeout} {
		if d != 100*time.Millisecond {
			t.Errorf("%s %v, want 100ms", name, d)
		}
	}
	if o.DialTimeout != 250*time.Millisecond {
		t.Errorf("DialTimeout %v, want 250ms", o.DialTimeout)
	}
}

func TestRecommendedOptionsRefuse(t *testing.T) {
	for _, url := range []string{"", "example.com:6379", "http://example.com", "redis://example.com/notanumber", "redis://example.com?no_such_option=1", "\x7f"} {
		o, err := lua.RecommendedOptions(url)
		if err == nil {
			t.Errorf("%q: %+v, want an error", url, o.Addrs)
		} else if !strings.HasPrefix(err.Error(), "lua: Redis URL: ") {
			t.Errorf("%q: error %q", url, err)
		}
	}
	// The password is not for logs.
	if _, err := lua.RecommendedOptions("redis://user:secret@example.com/notanumber"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func TestCheckClient(t *testing.T) {
	for _, c := range []struct {
		name   string
		client redis.UniversalClient
		want   int
	}{
		{"single, defaults", redis.NewClient(&redis.Options{}), 1},
		{"single", redis.NewClient(&redis.Options{ContextTimeoutEnabled: true}), 0},
		{"sentinel, defaults", redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m"}), 1},
		{"cluster, defaults", redis.NewClusterClient(&redis.ClusterOptions{}), 1},
		{"cluster", redis.NewClusterClient(&redis.ClusterOptions{ContextTimeoutEnabled: true}), 0},
		{"ring, defaults", redis.NewRing(&redis.RingOptions{}), 1},
		{"ring", redis.NewRing(&redis.RingOptions{ContextTimeoutEnabled: true}), 0},
		{"of its own kind", struct{ redis.UniversalClient }{}, 0},
	} {
		problems := lua.CheckClient(c.client)
		if len(problems) != c.want || c.want == 1 && !strings.Contains(problems[0], "ContextTimeoutEnabled") {
			t.Errorf("%s: %q, want %d", c.name, problems, c.want)
		}
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		if _, err := lua.New(c.client, lua.Options{Logger: logger}); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if lines := strings.Count(log.String(), "level=WARN"); lines != c.want {
			t.Errorf("%s: %d warnings, want %d:\n%s", c.name, lines, c.want, &log)
		}
		if c.name != "of its own kind" {
			c.client.Close()
		}
	}
}

func TestNewRefuses(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	for _, c := range []struct {
		name   string
		client lua.Client
		opts   lua.Options
		want   string
	}{
		{"no client", nil, lua.Options{}, "client is nil"},
		{"a nil of a client's type", (*redis.Client)(nil), lua.Options{}, "client is nil"},
		{"a nil of a cluster client's type", (*redis.ClusterClient)(nil), lua.Options{}, "client is nil"},
		{"budget below 1 ms", client, lua.Options{Budget: time.Millisecond - 1}, "Budget 999.999µs"},
		{"negative budget", client, lua.Options{Budget: -time.Second}, "Budget -1s"},
		{"budget above 10 s", client, lua.Options{Budget: 10*time.Second + 1}, "Budget 10.000000001s"},
		{"braces in the prefix", client, lua.Options{Prefix: "a{b}"}, "Prefix"},
		{"a prefix too long", client, lua.Options{Prefix: strings.Repeat("a", 33)}, "Prefix"},
	} {
		if _, err := lua.New(c.client, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	for _, budget := range []time.Duration{time.Millisecond, 10 * time.Second} {
		if s, err := lua.New(client, lua.Options{Budget: budget}); err != nil || s.Budget() != budget {
			t.Errorf("budget %v: %v", budget, err)
		}
	}
	if s, err := lua.New(client, lua.Options{}); err != nil || s.Budget() != 150*time.Millisecond {
		t.Errorf("default: %v, %v", s.Budget(), err)
	}
}
