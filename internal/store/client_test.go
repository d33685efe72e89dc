package store_test

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/gatekit/gatekit/internal/store"
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
			got, err := store.RecommendedOptions(c.url)
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
			if problems := store.CheckClient(client, 0); problems != nil {
				t.Errorf("CheckClient finds %q", problems)
			}
			got.MasterName = "master"
			sentinel := redis.NewUniversalClient(got)
			defer sentinel.Close()
			if problems := store.CheckClient(sentinel, 0); problems != nil {
				t.Errorf("CheckClient finds with Sentinel: %q", problems)
			}
		})
	}
}

// wantBudgetOptions checks the options that the doc comment promises. No time-out may be
// longer than the default budget, except that of a dial, which ends at the deadline.
func wantBudgetOptions(t *testing.T, o *redis.UniversalOptions) {
	t.Helper()
	if !o.ContextTimeoutEnabled || o.DialerRetries != 1 || o.MaxRetries != 0 {
		t.Errorf("ContextTimeoutEnabled %v, DialerRetries %d, MaxRetries %d; want true, 1, 0", o.ContextTimeoutEnabled, o.DialerRetries, o.MaxRetries)
	}
	for name, d := range map[string]time.Duration{"ReadTimeout": o.ReadTimeout, "WriteTimeout": o.WriteTimeout, "PoolTimeout": o.PoolTimeout} {
		t.Run(name, func(t *testing.T) {
			if d != store.DefaultBudget {
				t.Errorf("%s %v, want %v", name, d, store.DefaultBudget)
			}
		})
	}
	if o.DialTimeout != 600*time.Millisecond {
		t.Errorf("DialTimeout %v, want 600ms", o.DialTimeout)
	}
	if !o.DisableIdentity || o.MaintNotificationsConfig.Mode != maintnotifications.ModeDisabled {
		t.Error("identity or maintenance notifications are on: each takes a round trip of a new connection")
	}
}

// TestURLForms: the options of a URL reach the client, in each form.
func TestURLForms(t *testing.T) {
	for _, c := range []struct {
		name, url string
		client    redis.UniversalClient // of this type
		check     func(o *redis.UniversalOptions) bool
	}{
		{"options", "redis://h/3?protocol=2&pool_size=7&client_name=shop&max_retries=-1&min_idle_conns=2&conn_max_idle_time=5m", &redis.Client{},
			func(o *redis.UniversalOptions) bool {
				return o.DB == 3 && o.Protocol == 2 && o.PoolSize == 7 && o.ClientName == "shop" && o.MaxRetries == -1 && o.MinIdleConns == 2 && o.ConnMaxIdleTime == 5*time.Minute
			}},
		{"time-outs of the URL count", "redis://h?read_timeout=1s&dial_timeout=2s&pool_timeout=3s&write_timeout=4s", &redis.Client{},
			func(o *redis.UniversalOptions) bool {
				return o.ReadTimeout == time.Second && o.DialTimeout == 2*time.Second && o.PoolTimeout == 3*time.Second && o.WriteTimeout == 4*time.Second
			}},
		{"database as an option", "redis://h?db=3", &redis.Client{}, func(o *redis.UniversalOptions) bool { return o.DB == 3 }},
		{"skip_verify", "rediss://h?skip_verify=true", &redis.Client{}, func(o *redis.UniversalOptions) bool { return o.TLSConfig.InsecureSkipVerify }},
		{"socket", "unix://user:secret@/run/redis.sock?db=1", &redis.Client{},
			func(o *redis.UniversalOptions) bool {
				return o.Addrs[0] == "/run/redis.sock" && o.DB == 1 && o.Username == "user" && o.Password == "secret"
			}},
		{"cluster with options", "redis://a:1?addr=b:2&pool_size=7&client_name=shop", &redis.ClusterClient{},
			func(o *redis.UniversalOptions) bool {
				return len(o.Addrs) == 2 && o.PoolSize == 7 && o.ClientName == "shop"
			}},
		{"cluster behind one address", "rediss://a:1?cluster=true", &redis.ClusterClient{}, func(o *redis.UniversalOptions) bool { return len(o.Addrs) == 1 }},
		{"IPv6", "redis://[::1]:7?addr=[::2]:8", &redis.ClusterClient{},
			func(o *redis.UniversalOptions) bool { return o.Addrs[0] == "[::1]:7" && o.Addrs[1] == "[::2]:8" }},
		{"Sentinels", "redis://s:sentinel@s1:26379/2?master_name=m&addr=s2:26379&username=u&password=p%40&pool_size=7", &redis.Client{},
			func(o *redis.UniversalOptions) bool {
				return o.MasterName == "m" && len(o.Addrs) == 2 && o.DB == 2 && o.Username == "u" && o.Password == "p@" &&
					o.SentinelUsername == "s" && o.SentinelPassword == "sentinel" && o.PoolSize == 7
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := store.RecommendedOptions(c.url)
			if err != nil {
				t.Error(err)
				return
			}
			if !c.check(o) {
				t.Errorf("%+v", o)
			}
			client := redis.NewUniversalClient(o)
			if reflect.TypeOf(client) != reflect.TypeOf(c.client) {
				t.Errorf("makes a %T, want a %T", client, c.client)
			}
			client.Close()
		})
	}
}

// TestURLMistakes: an error names the mistake and contains no part of the URL, because
// the mistyped part may be the password.
func TestURLMistakes(t *testing.T) {
	const secret = "s3cr3t"
	for _, c := range []struct{ name, url, want string }{
		{"empty", "", "scheme"},
		{"no scheme", "s3cr3t.example.com:6379", "want redis://"},
		{"another scheme", "http://user:s3cr3t@example.com", "want redis://"},
		{"percent in an option", "redis://example.com?password=%s3cr3t", "cannot be parsed"},
		{"control character", "redis://user:s3cr3t\x7f@example.com", "cannot be parsed"},
		{"slash in the password", "redis://user:s3cr3t/more@example.com:6379", "%2F"},
		{"question mark in the password", "redis://user:s3cr3t?more@example.com:6379", "%3F"},
		{"number sign in the password", "redis://user:s3cr3t#more@example.com:6379", "%23"},
		{"percent in the password", "redis://user:s3cr3t%zz@example.com:6379", "%25"},
		{"digits and a question mark", "redis://user:12?s3cr3t@example.com:6379", "option that is not known"},
		{"digits and a slash", "redis://user:12/s3cr3t@example.com:6379", "number of a database"},
		{"bracket in the password", "redis://user:[s3cr3t@example.com", "cannot be parsed"},
		{"password as the user", "redis://:s3cr3t@:port", "cannot be parsed"},
		{"scheme forgotten", "user:s3cr3t@example.com:6379", "want redis://"},
		{"database", "redis://user:s3cr3t@example.com/notanumber", "number of a database"},
		{"unknown option", "redis://user:s3cr3t@example.com?s3cr3t=1", "option that is not known"},
		{"option of the wrong kind", "redis://user:s3cr3t@example.com?pool_size=s3cr3t", "pool_size"},
		{"cluster of the wrong kind", "redis://user:s3cr3t@example.com?cluster=s3cr3t", "cluster: want true or false"},
		{"hosts in a list", "redis://user:s3cr3t@a:6379,b:6379", "?addr=host:port"},
		{"addr without a port", "redis://user:s3cr3t@a:6379?addr=s3cr3t", "addr: want host:port"},
		{"database of a cluster", "redis://user:s3cr3t@a:6379/2?addr=b:6379", "database 0 only"},
		{"socket without a path", "unix://user:s3cr3t@", "unix:///path"},
		{"socket of a cluster", "unix://user:s3cr3t@/path?addr=b:1", "unix:// is one server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, try := range []func() error{
				func() error { _, err := store.RecommendedOptions(c.url); return err },
				func() error { _, err := store.Connect(c.url, 0); return err },
			} {
				err := try()
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "gatekit: Redis URL: ") {
					t.Errorf("error %v, want one with %q", err, c.want)
				} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "example.com") {
					t.Errorf("the error shows the URL: %v", err)
				}
			}
		})
	}
}

// TestConnectDerivesTimeouts: Connect derives the time-outs from the budget, so
// CheckClient finds no problem.
func TestConnectDerivesTimeouts(t *testing.T) {
	for _, budget := range []time.Duration{0, 20 * time.Millisecond, time.Second} {
		for _, url := range []string{"redis://h", "redis://h:1?addr=i:2", "redis://h:1?master_name=m"} {
			t.Run(url, func(t *testing.T) {
				client, err := store.Connect(url, budget)
				if err != nil {
					t.Fatal(err)
				}
				if problems := store.CheckClient(client, budget); problems != nil {
					t.Errorf("%s, budget %v: %q", url, budget, problems)
				}
				client.Close()
			})
		}
	}
	client, err := store.Connect("redis://h", 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if problems := store.CheckClient(client, 300*time.Millisecond); len(problems) != 2 || !strings.Contains(problems[0], "ReadTimeout 100ms is shorter than the budget of 300ms") {
		t.Errorf("a client for 100 ms and a budget of 300: %q", problems)
	}
	for _, budget := range []time.Duration{-1, time.Microsecond, time.Minute} {
		if _, err := store.Connect("redis://h", budget); err == nil {
			t.Errorf("budget %v: no error", budget)
		}
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
		t.Run(c.name, func(t *testing.T) {
			problems := store.CheckClient(c.client, 0)
			if len(problems) != c.want || c.want == 1 && !strings.Contains(problems[0], "ContextTimeoutEnabled") {
				t.Errorf("%q, want %d", problems, c.want)
			}
			var log bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&log, nil))
			if _, err := store.New(c.client, store.Options{Logger: logger}); err != nil {
				t.Error(err)
			}
			if lines := strings.Count(log.String(), "level=WARN"); lines != c.want {
				t.Errorf("%d warnings, want %d:\n%s", lines, c.want, &log)
			}
			if c.name != "of its own kind" {
				c.client.Close()
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	for _, c := range []struct {
		name   string
		client store.Client
		opts   store.Options
		want   string
	}{
		{"no client", nil, store.Options{}, "client is nil"},
		{"a nil of a client's type", (*redis.Client)(nil), store.Options{}, "client is nil"},
		{"a nil of a cluster client's type", (*redis.ClusterClient)(nil), store.Options{}, "client is nil"},
		{"budget below 1 ms", client, store.Options{Budget: time.Millisecond - 1}, "Budget 999.999µs"},
		{"negative budget", client, store.Options{Budget: -time.Second}, "Budget -1s"},
		{"budget above 10 s", client, store.Options{Budget: 10*time.Second + 1}, "Budget 10.000000001s"},
		{"braces in the prefix", client, store.Options{Prefix: "a{b}"}, "Prefix"},
		{"a prefix too long", client, store.Options{Prefix: strings.Repeat("a", 33)}, "Prefix"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := store.New(c.client, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	for _, budget := range []time.Duration{time.Millisecond, 10 * time.Second} {
		if s, err := store.New(client, store.Options{Budget: budget}); err != nil || s.Budget() != budget {
			t.Errorf("budget %v: %v", budget, err)
		}
	}
	if s, err := store.New(client, store.Options{}); err != nil || s.Budget() != 150*time.Millisecond {
		t.Errorf("default: %v, %v", s.Budget(), err)
	}
}
