package store

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Connect makes a client for the Redis at a URL, with options that keep the budget. See
// [RecommendedOptions] for the forms of URLs. The budget is that of the limiters and
// managers that use the client, 1 ms to 10 s; 0 means [DefaultBudget], 150 ms. Connect
// does not dial: if Redis is down, the first call fails. The caller closes the client. An
// error means that the URL or the budget is wrong. It names the mistake, and contains no
// part of the URL.
func Connect(url string, budget time.Duration) (Client, error) {
	if budget == 0 {
		budget = DefaultBudget
	}
	if err := checkBudget(budget); err != nil {
		return nil, err
	}
	o, err := options(url, budget)
	if err != nil {
		return nil, err
	}
	return redis.NewUniversalClient(o), nil
}

// RecommendedOptions parses a Redis URL into options for [redis.NewUniversalClient] that
// keep a budget of 150 ms. For another budget use [Connect], or set ReadTimeout,
// WriteTimeout and PoolTimeout. The forms:
//
//	redis://user:password@host:port/db      one server; rediss:// for TLS
//	unix://user:password@/path?db=1         one server, by its socket
//	redis://user:password@host1:port?addr=host2:port&addr=host3:port
//	                                        a cluster, by some of its servers; ?cluster=true where it has one address
//	redis://host1:26379/db?master_name=name&addr=host2:26379&username=user&password=password
//	                                        a master, by its Sentinels; user:password@ are those of the Sentinels
//
// The options of [redis.ParseURL] may follow (?pool_size=50&client_name=shop), and keep
// their values. RecommendedOptions sets others:
//
//   - ContextTimeoutEnabled is on. Without it the client ignores a deadline while it
//     reads, and waits for ReadTimeout, 5 s.
//   - ReadTimeout, WriteTimeout and PoolTimeout are the budget. A frozen server costs one
//     such wait, not 10 s, and the client throws no reply away that comes within the
//     budget.
//   - DialTimeout is 4 budgets, at least 250 ms, because connections are set up in the
//     background. DialerRetries is 1: a refused connection fails in 1 ms, not 1.7 s.
//   - DisableIdentity is on and maintenance notifications are off, because each costs a
//     new connection a round trip.
//   - MaxRetries is left as it is. The client does not retry scripts of this kit,
//     whatever its value; other commands of the program keep their retries.
//
// Programs that build their own options can check them by [CheckClient].
func RecommendedOptions(url string) (*redis.UniversalOptions, error) {
	return options(url, DefaultBudget)
}

// The errors of a URL. None contains a part of the URL, because the mistyped part may be
// the password.
var (
	errURL = errors.New("gatekit: Redis URL: cannot be parsed: want redis://user:password@host:port/db, " +
		"and / ? # @ % in a password as %2F %3F %23 %40 %25")
	errScheme = errors.New("gatekit: Redis URL: begins with no scheme that is known: want redis://, rediss:// (TLS) or unix://")
	errHosts  = errors.New("gatekit: Redis URL: several servers before the path: want the first there, " +
		"and the others as ?addr=host:port&addr=host:port")
	errAddr      = errors.New("gatekit: Redis URL: addr: want host:port, once for each further server")
	errDatabase  = errors.New("gatekit: Redis URL: the path is no number of a database: want redis://host:port/5, or no path")
	errClusterDB = errors.New("gatekit: Redis URL: a cluster has database 0 only: take the number away, " +
		"or add ?master_name=name if the servers are Sentinels")
	errForm    = errors.New("gatekit: Redis URL: unix:// is one server: it has no addr, cluster or master_name")
	errOptions = errors.New("gatekit: Redis URL: an option that is not known: want those of redis.ParseURL, " +
		"addr, cluster, master_name, username and password")
)

func options(text string, budget time.Duration) (*redis.UniversalOptions, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil:
		return nil, errURL
	case u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix":
		return nil, errScheme
	case u.Opaque != "" || u.Fragment != "":
		return nil, errURL
	case strings.Contains(u.Host, ","):
		return nil, errHosts
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errURL
	}
	further, err := takeServers(query, u.Scheme == "unix")
	if err != nil {
		return nil, err
	}
	u.RawQuery = query.Encode()
	one, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, mistake(u, query)
	}
	return further.apply(universal(one), one.DB, budget)
}

// servers are the options of a URL that go beyond one server.
type servers struct {
	addrs                        []string
	cluster                      bool
	master, masterUser, password string
}

// takeServers reads the options that [redis.ParseURL] does not know, and removes them
// from the query.
func takeServers(query url.Values, socket bool) (s servers, err error) {
	s.addrs = query["addr"]
	for _, addr := range s.addrs {
		host, port, ok := strings.Cut(addr, ":")
		if !strings.HasPrefix(addr, "[") && (!ok || host == "" || port == "" || strings.ContainsAny(addr, ",/@")) {
			return s, errAddr
		}
	}
	switch query.Get("cluster") {
	case "true", "1":
		s.cluster = true
	case "", "false", "0":
	default:
		return s, errors.New("gatekit: Redis URL: cluster: want true or false")
	}
	s.master = query.Get("master_name")
	if s.master != "" {
		s.masterUser, s.password = query.Get("username"), query.Get("password")
		query.Del("username")
		query.Del("password")
	}
	if socket && (len(s.addrs) > 0 || s.cluster || s.master != "") {
		return s, errForm
	}
	query.Del("addr")
	query.Del("cluster")
	query.Del("master_name")
	return s, nil
}

// apply adds the other servers and the time-outs to the options of one server.
func (s servers) apply(o *redis.UniversalOptions, db int, budget time.Duration) (*redis.UniversalOptions, error) {
	o.Addrs = append(o.Addrs, s.addrs...)
	switch {
	case s.master != "":
		o.MasterName = s.master
		o.SentinelUsername, o.SentinelPassword = o.Username, o.Password
		o.Username, o.Password = s.masterUser, s.password
	case s.cluster || len(s.addrs) > 0:
		if db != 0 {
			return nil, errClusterDB
		}
		// If it is not set, several addresses mean a cluster, or Sentinels if the program
		// sets MasterName.
		o.IsClusterMode = s.cluster
	}
	orElse(&o.ReadTimeout, budget)
	orElse(&o.WriteTimeout, budget)
	orElse(&o.PoolTimeout, budget)
	orElse(&o.DialTimeout, max(4*budget, 250*time.Millisecond))
	o.ContextTimeoutEnabled, o.DialerRetries, o.DisableIdentity = true, 1, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o, nil
}

func orElse(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// universal copies all options that a URL can set.
func universal(o *redis.Options) *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs:                   []string{o.Addr},
		Username:                o.Username,
		Password:                o.Password,
		DB:                      o.DB,
		TLSConfig:               o.TLSConfig,
		Protocol:                o.Protocol,
		ClientName:              o.ClientName,
		MaxRetries:              o.MaxRetries,
		MinRetryBackoff:         o.MinRetryBackoff,
		MaxRetryBackoff:         o.MaxRetryBackoff,
		DialTimeout:             o.DialTimeout,
		ReadTimeout:             o.ReadTimeout,
		WriteTimeout:            o.WriteTimeout,
		PoolFIFO:                o.PoolFIFO,
		PoolSize:                o.PoolSize,
		PoolTimeout:             o.PoolTimeout,
		MinIdleConns:            o.MinIdleConns,
		MaxIdleConns:            o.MaxIdleConns,
		MaxActiveConns:          o.MaxActiveConns,
		MaxConcurrentDials:      o.MaxConcurrentDials,
		PipelinePoolSize:        o.PipelinePoolSize,
		PipelineReadBufferSize:  o.PipelineReadBufferSize,
		PipelineWriteBufferSize: o.PipelineWriteBufferSize,
		ConnMaxIdleTime:         o.ConnMaxIdleTime,
		ConnMaxLifetime:         o.ConnMaxLifetime,
		ConnMaxLifetimeJitter:   o.ConnMaxLifetimeJitter,
	}
}

// mistake returns an error for a URL that [redis.ParseURL] refused. It does not use
// ParseURL's own error, whose text quotes the URL.
func mistake(u *url.URL, query url.Values) error {
	bare := *u
	bare.RawQuery = ""
	if _, err := redis.ParseURL(bare.String()); err != nil {
		if u.Scheme == "unix" {
			return errors.New("gatekit: Redis URL: no path of a socket: want unix:///path/to/redis.sock")
		}
		return errDatabase
	}
	for _, name := range urlOptions {
		if query.Has(name) {
			bare.RawQuery = url.Values{name: query[name]}.Encode()
			if _, err := redis.ParseURL(bare.String()); err != nil {
				return fmt.Errorf("gatekit: Redis URL: %s: its value is of the wrong kind: want a number, true or false, or a time such as 200ms", name)
			}
		}
	}
	return errOptions
}

// urlOptions are the options of [redis.ParseURL]. An error shows no other name.
var urlOptions = []string{
	"db", "protocol", "client_name", "max_retries", "min_retry_backoff", "max_retry_backoff", "dial_timeout", "read_timeout",
	"write_timeout", "pool_fifo", "pool_size", "pool_timeout", "min_idle_conns", "max_idle_conns", "max_active_conns",
	"max_concurrent_dials", "pipeline_pool_size", "pipeline_read_buffer_size", "pipeline_write_buffer_size",
	"conn_max_idle_time", "idle_timeout", "conn_max_lifetime", "max_conn_age", "conn_max_lifetime_jitter", "skip_verify",
}

// CheckClient returns the options of a client that break the budget of a call, one
// sentence each with the remedy; nil means that it found none. A budget of 0 means
// [DefaultBudget]. It knows the clients of go-redis and asks no server. With any options,
// waiting for a connection and dialing end at the deadline. So it checks
// ContextTimeoutEnabled, and whether time-outs are shorter than the budget.
func CheckClient(client Client, budget time.Duration) (problems []string) {
	if budget == 0 {
		budget = DefaultBudget
	}
	deadlines, read, pool := true, time.Duration(0), time.Duration(0)
	switch c := client.(type) {
	case *redis.Client:
		deadlines, read, pool = c.Options().ContextTimeoutEnabled, c.Options().ReadTimeout, c.Options().PoolTimeout
	case *redis.ClusterClient:
		deadlines, read, pool = c.Options().ContextTimeoutEnabled, c.Options().ReadTimeout, c.Options().PoolTimeout
	case *redis.Ring:
		deadlines, read, pool = c.Options().ContextTimeoutEnabled, c.Options().ReadTimeout, c.Options().PoolTimeout
	}
	if !deadlines {
		problems = append(problems, "ContextTimeoutEnabled is false: reads ignore the deadline and wait for ReadTimeout; set it")
	}
	for _, o := range []struct {
		name    string
		timeout time.Duration
		effect  string
	}{
		{"ReadTimeout", read, "replies that take longer are thrown away"},
		{"PoolTimeout", pool, "calls that wait longer for a connection fail"},
	} {
		if o.timeout > 0 && o.timeout < budget {
			problems = append(problems, fmt.Sprintf("%s %v is shorter than the budget of %v: %s; set it to the budget", o.name, o.timeout, budget, o.effect))
		}
	}
	return problems
}
