package gategorilla_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/gob"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/boj/redistore"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gategorilla"
	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	ginsessions "github.com/gin-contrib/sessions"
	ginredis "github.com/gin-contrib/sessions/redis"
	"github.com/gin-gonic/gin"
	"github.com/gorilla/sessions"
	"github.com/redis/go-redis/v9"
)

type legacyCart struct{ Items []string }

func init() {
	gob.Register(legacyCart{})
	gin.SetMode(gin.ReleaseMode)
}

const legacyCookie = "shop" // of the old store

var (
	legacyHashKey  = []byte("0123456789abcdef0123456789abcdef")
	legacyBlockKey = []byte("fedcba9876543210")
	legacyCartKey  = session.NewKey[legacyCart]("cart")
)

// legacyProgram is a program with a gorilla store, and the same program after the switch.
type legacyProgram struct {
	t      *testing.T
	prefix string
	addr   string                // of the old store's Redis
	old    redis.UniversalClient // of the same
	logs   bytes.Buffer
	m      *session.Manager
	site   http.Handler // after the switch
}

// newLegacyProgram prepares the switch from a store of the kind: boj, gin, rbcervilla.
// Those of boj and gin take the address of a single server; where ours is a cluster,
// theirs is another Redis.
func newLegacyProgram(t *testing.T, srv *redistest.Server, kind string, change func(*gategorilla.LegacyOptions)) *legacyProgram {
	t.Helper()
	p := &legacyProgram{t: t, prefix: redistest.Prefix(t), addr: srv.Addrs()[0]}
	cfg := settings{Options: gatekit.Options{Prefix: p.prefix, Budget: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(&p.logs, nil))}}
	p.old = srv.Client(t)
	if len(srv.Nodes()) > 1 {
		p.addr = redistest.Embedded(t).Addrs()[0]
		p.old = redistest.NewClient(t, p.addr)
		cfg.LegacyClient = p.old
	}
	o := gategorilla.LegacyOptions{
		Cookie: http.Cookie{Name: legacyCookie}, Prefix: p.prefix + "old:", KeyPairs: [][]byte{legacyHashKey, legacyBlockKey},
		Map: legacyMap,
	}
	if change != nil {
		change(&o)
	}
	from := gategorilla.FromBoj
	if kind == "rbcervilla" {
		from = gategorilla.FromRbcervilla
	}
	var err error
	if cfg.Legacy, err = from(o); err != nil {
		t.Fatal(err)
	}
	if p.m, err = session.New(kvtest.Open(t, srv.Client(t), cfg.Options), cfg.sessionOptions); err != nil {
		t.Fatal(err)
	}
	p.site = browsertest.Middleware(p.m, http.HandlerFunc(p.serve))
	return p
}

// legacyMap maps the values of the program's old sessions.
func legacyMap(values map[any]any) (session.Carried, error) {
	user, _ := values["user"].(string)
	c := session.Carried{UserID: user, Values: map[string]any{}, Persistent: true}
	switch cart := values["cart"].(type) {
	case legacyCart:
		c.Values["cart"] = cart
	case string: // of the JSON serializer
		c.Values["cart"] = legacyCart{strings.Split(cart, ",")}
	}
	return c, nil
}

func (p *legacyProgram) serve(w http.ResponseWriter, r *http.Request) {
	s, err := session.From(r.Context())
	if err == nil && r.URL.Path == "/logout" {
		err = s.Logout(r.Context())
	}
	if err != nil {
		p.m.Refuse(w, r, err)
		return
	}
	cart, err := legacyCartKey.Get(s)
	if err != nil {
		p.t.Error(err)
	}
	_, _ = io.WriteString(w, s.UserID()+" "+strings.Join(cart.Items, ","))
}

// boj lets a browser log in at the program with boj/redistore.
func (p *legacyProgram) boj(json bool) *http.Cookie {
	p.t.Helper()
	store, err := redistore.NewRediStore(1, "tcp", p.addr, "", "", legacyHashKey, legacyBlockKey)
	if err != nil {
		p.t.Fatal(err)
	}
	defer store.Close()
	store.SetKeyPrefix(p.prefix + "old:")
	values := map[any]any{"user": "alice", "cart": any(legacyCart{[]string{"tea", "milk"}})}
	if json {
		store.SetSerializer(redistore.JSONSerializer{})
		values["cart"] = "tea,milk"
	}
	return p.cookieOf(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := store.Get(r, legacyCookie)
		if err == nil {
			s.Values = values
			err = s.Save(r, w)
		}
		if err != nil {
			p.t.Error(err)
		}
	}))
}

// gin lets a browser log in at the program with gin-contrib/sessions.
func (p *legacyProgram) gin() *http.Cookie {
	p.t.Helper()
	store, err := ginredis.NewStore(1, "tcp", p.addr, "", "", legacyHashKey, legacyBlockKey)
	if err != nil {
		p.t.Fatal(err)
	}
	inner, err := ginredis.GetRedisStore(store)
	if err != nil {
		p.t.Fatal(err)
	}
	defer inner.Close()
	inner.SetKeyPrefix(p.prefix + "old:")
	engine := gin.New()
	engine.Use(ginsessions.Sessions(legacyCookie, store))
	engine.GET("/", func(c *gin.Context) {
		s := ginsessions.Default(c)
		s.Set("user", "alice")
		s.Set("cart", legacyCart{[]string{"tea", "milk"}})
		if err := s.Save(); err != nil {
			p.t.Error(err)
		}
	})
	return p.cookieOf(engine)
}

// rbcervilla lets a browser log in at the program with rbcervilla/redisstore.
func (p *legacyProgram) rbcervilla() *http.Cookie {
	p.t.Helper()
	id, stored := rbcervillaSession("alice")
	if err := p.old.Set(p.t.Context(), p.prefix+"old:"+id, stored, 30*24*time.Hour).Err(); err != nil {
		p.t.Fatal(err)
	}
	return &http.Cookie{Name: legacyCookie, Value: id}
}

// rbcervillaSession is what github.com/rbcervilla/redisstore would store: gob of the
// values, under an id of 64 random bytes in base32, which the cookie carries as it is.
func rbcervillaSession(user string) (id, stored string) {
	var random [64]byte
	_, _ = rand.Read(random[:])
	s := sessions.NewSession(nil, legacyCookie)
	s.Values["user"], s.Values["cart"] = user, legacyCart{[]string{"tea", "milk"}}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(s.Values); err != nil {
		panic(err)
	}
	return strings.TrimRight(base32.StdEncoding.EncodeToString(random[:]), "="), b.String()
}

func (p *legacyProgram) cookieOf(h http.Handler) *http.Cookie {
	p.t.Helper()
	b := browsertest.NewBrowser(h)
	resp := b.Do("GET", "/")
	if len(resp.Cookies()) != 1 {
		p.t.Fatalf("%s, cookies %v", resp.Status, resp.Cookies())
	}
	return resp.Cookies()[0]
}

func (p *legacyProgram) bring(c *http.Cookie) *browsertest.Browser {
	b := browsertest.NewBrowser(p.site)
	b.SetCookie(c.Name, c.Value)
	return b
}

// dumps returns the old sessions as they are stored.
func (p *legacyProgram) dumps() map[string]string {
	p.t.Helper()
	all := map[string]string{}
	for _, key := range redistest.Keys(p.t, p.old, p.prefix+"old:") {
		text, err := p.old.Get(p.t.Context(), key).Result()
		if err != nil {
			p.t.Fatal(err)
		}
		ends, err := p.old.PExpireTime(p.t.Context(), key).Result()
		if err != nil && !strings.Contains(err.Error(), "unknown command") { // Redis 7.0 and newer know it
			p.t.Fatal(err)
		}
		all[key] = fmt.Sprint(text, ends)
	}
	return all
}

func legacyWant(t *testing.T, resp *http.Response, want string) {
	t.Helper()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(text) != want {
		t.Errorf("got %d %q, want %q", resp.StatusCode, text, want)
	}
}

func TestLegacyLogsNobodyOut(t *testing.T) {
	redistest.Long(t)
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		for _, kind := range []string{"boj", "boj with JSON", "gin", "rbcervilla"} {
			t.Run(kind, func(t *testing.T) {
				p := newLegacyProgram(t, srv, kind, func(o *gategorilla.LegacyOptions) { o.JSON = kind == "boj with JSON" })
				var c *http.Cookie
				switch kind {
				case "gin":
					c = p.gin()
				case "rbcervilla":
					c = p.rbcervilla()
				default:
					c = p.boj(kind == "boj with JSON")
				}
				before := p.dumps()
				if len(before) != 1 {
					t.Fatalf("%d old sessions, want 1", len(before))
				}
				b, again := p.bring(c), p.bring(c)
				resp := b.Do("GET", "/")
				if cookies := resp.Cookies(); len(cookies) != 1 || cookies[0].MaxAge < 29*24*3600 || cookies[0].MaxAge > 30*24*3600 {
					t.Errorf("cookies %v, want ours, for 30 days", cookies)
				}
				legacyWant(t, resp, "alice tea,milk")
				legacyWant(t, again.Do("GET", "/"), "alice tea,milk")
				if b.Cookie("__Host-id") != again.Cookie("__Host-id") {
					t.Errorf("the old cookie brings two tokens")
				}
				legacyWant(t, b.Do("POST", "/logout"), " ")
				if b.Cookie(legacyCookie) != "" {
					t.Errorf("the old cookie stays after a logout")
				}
				legacyWant(t, p.bring(c).Do("GET", "/"), " ")
				after := p.dumps()
				for key := range before {
					if after[key] != before[key] || len(after) != 1 {
						t.Errorf("the old session was changed")
					}
				}
				if p.logs.Len() > 0 {
					t.Errorf("log %s", &p.logs)
				}
			})
		}
	})
}

// legacyRead asks a reader about a cookie, and returns how often it asked Redis.
func legacyRead(t testing.TB, l *gategorilla.Legacy, cookie string, data []byte) (old session.LegacySession, found bool, asked int, err error) {
	t.Helper()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", "/", nil)
	r.Header.Set("Cookie", legacyCookie+"="+cookie)
	old, found, err = l.Read(t.Context(), r, func(context.Context, string) (session.LegacyValue, bool, error) {
		asked++
		return session.LegacyValue{Data: data}, data != nil, nil
	})
	return old, found, asked, err
}

// A cookie that the store did not sign, or can't have made, costs no command.
func TestLegacyForgedCookies(t *testing.T) {
	p := newLegacyProgram(t, redistest.Embedded(t), "boj", nil)
	value := p.boj(false).Value
	pairs := func(keys ...[]byte) func(*gategorilla.LegacyOptions) {
		return func(o *gategorilla.LegacyOptions) { o.KeyPairs = keys }
	}
	other := []byte("another key of thirty-two bytes!")
	flipped := []byte(value)
	flipped[len(flipped)/2] ^= 1
	for _, c := range []struct {
		name, cookie string
		change       func(*gategorilla.LegacyOptions)
		asked        int
	}{
		{"as it was signed", value, nil, 1},
		{"by an older pair", value, pairs(other, nil, legacyHashKey, legacyBlockKey), 1},
		{"by another key", value, pairs(other, legacyBlockKey), 0},
		{"changed", string(flipped), nil, 0},
		{"cut", value[:len(value)-4], nil, 0},
		{"empty", "", nil, 0},
		{"an id without signature", strings.Repeat("A", 52), nil, 0},
		{"for another name", value, func(o *gategorilla.LegacyOptions) { o.Cookie.Name = "other" }, 0},
		{"not too old", value, func(o *gategorilla.LegacyOptions) { o.MaxAge = time.Hour }, 1},
		{"of any age", value, func(o *gategorilla.LegacyOptions) { o.MaxAge = -1 }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := gategorilla.LegacyOptions{Cookie: http.Cookie{Name: legacyCookie}, KeyPairs: [][]byte{legacyHashKey, legacyBlockKey}, Map: legacyMap}
			if c.change != nil {
				c.change(&o)
			}
			l, err := gategorilla.FromBoj(o)
			if err != nil {
				t.Fatal(err)
			}
			if _, found, asked, err := legacyRead(t, l, c.cookie, nil); found || err != nil || asked != c.asked {
				t.Errorf("found %v, %v, asked %d times, want %d", found, err, asked, c.asked)
			}
		})
	}
	l, err := gategorilla.FromRbcervilla(gategorilla.LegacyOptions{Cookie: http.Cookie{Name: legacyCookie}, Map: legacyMap})
	if err != nil {
		t.Fatal(err)
	}
	for cookie, want := range map[string]int{
		strings.Repeat("A", 103): 1, strings.Repeat("A", 102): 0, strings.Repeat("a", 103): 0, "attackers-choice": 0, "": 0,
	} {
		t.Run(cookie, func(t *testing.T) {
			if _, _, asked, _ := legacyRead(t, l, cookie, nil); asked != want {
				t.Errorf("asked %d times, want %d", asked, want)
			}
		})
	}
}

// If an old session can't be decoded, its visitor is a guest, the log says what to do,
// and the old session stays.
func TestLegacyThatDoesNotDecode(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		p := newLegacyProgram(t, srv, "boj", nil)
		c := p.boj(false)
		for key := range p.dumps() {
			data := strings.ReplaceAll(p.old.Get(t.Context(), key).Val(), "gategorilla_test.legacyCart", "gategorilla_test.legacyBill")
			if err := p.old.Set(t.Context(), key, data, time.Hour).Err(); err != nil {
				t.Fatal(err)
			}
		}
		resp := p.bring(c).Do("GET", "/")
		if len(resp.Cookies()) != 0 {
			t.Errorf("cookies %v", resp.Cookies())
		}
		legacyWant(t, resp, " ")
		if log := p.logs.String(); !strings.Contains(log, "gob.Register") || strings.Contains(log, c.Value) {
			t.Errorf("log %q", log)
		}
	})
}

func TestLegacyOptions(t *testing.T) {
	keys, name := [][]byte{legacyHashKey}, http.Cookie{Name: legacyCookie}
	for want, o := range map[string]gategorilla.LegacyOptions{
		"Map":              {Cookie: name, KeyPairs: keys},
		"Cookie":           {Map: legacyMap, KeyPairs: keys},
		"KeyPairs":         {Map: legacyMap, Cookie: name},
		"KeyPairs: pair 1": {Map: legacyMap, Cookie: name, KeyPairs: [][]byte{legacyHashKey, nil, legacyHashKey, []byte("short")}},
	} {
		t.Run(want, func(t *testing.T) {
			if _, err := gategorilla.FromBoj(o); err == nil || !strings.Contains(err.Error(), want) {
				t.Error(err)
			}
		})
	}
}

// The reader must not panic on any stored bytes.
func FuzzLegacyDecode(f *testing.F) {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(map[any]any{"user": "alice", "cart": legacyCart{[]string{"a"}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), false)
	f.Add([]byte(`{"user":"alice","cart":"a"}`), true)
	f.Fuzz(func(t *testing.T, data []byte, json bool) {
		l, err := gategorilla.FromRbcervilla(gategorilla.LegacyOptions{Cookie: http.Cookie{Name: legacyCookie}, Map: legacyMap, JSON: json})
		if err != nil {
			t.Fatal(err)
		}
		if data == nil {
			data = []byte{}
		}
		if old, found, _, err := legacyRead(t, l, strings.Repeat("A", 103), data); found && (err != nil || len(old.ID) != 103) {
			t.Errorf("%+v, %v", old, err)
		}
	})
}
