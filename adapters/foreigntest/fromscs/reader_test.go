package fromscs_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/fromscs"
	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

const ours = "__Host-id"

type cart struct{ Items []string }

func init() { gob.Register(cart{}) }

var cartKey = session.NewKey[cart]("cart")

// program is a program with scs, and the same program after the switch.
type program struct {
	t      *testing.T
	old    *scs.SessionManager
	client redis.UniversalClient // of both
	prefix string
	logs   bytes.Buffer
	m      *session.Manager
	site   http.Handler // after the switch
}

// newSCS is scs.New without its first store, whose goroutine nobody ends.
func newSCS() *scs.SessionManager {
	return &scs.SessionManager{
		Lifetime: 24 * time.Hour, Codec: scs.GobCodec{},
		Cookie: scs.SessionCookie{Name: "session", HttpOnly: true, Path: "/", SameSite: http.SameSiteLaxMode, Persist: true},
		ErrorFunc: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		},
	}
}

func newProgram(t *testing.T, srv *redistest.Server, change func(*fromscs.Options), changeOld func(*scs.SessionManager)) *program {
	t.Helper()
	p := &program{t: t, old: newSCS(), client: srv.Client(t), prefix: redistest.Prefix(t)}
	// scs takes only the client of a single server. The test copies its keys to the
	// servers of the new program.
	single := srv.Nodes()
	addr := srv.Addrs()[0]
	if len(single) > 1 {
		addr = redistest.Embedded(t).Addrs()[0]
	}
	p.old.Store = goredisstore.NewWithPrefix(redistest.NewClient(t, addr).(*redis.Client), p.prefix+"scs:session:")
	if changeOld != nil {
		changeOld(p.old)
	}
	options := fromscs.Options{Prefix: p.prefix + "scs:session:", Map: carry}
	if change != nil {
		change(&options)
	}
	reader, err := fromscs.New(options)
	if err != nil {
		t.Fatal(err)
	}
	cfg := settings{sessionOptions: session.Options{Legacy: reader}, Options: gatekit.Options{Prefix: p.prefix, Budget: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(&p.logs, nil))}}
	if len(single) > 1 {
		cfg.LegacyClient = redistest.NewClient(t, addr)
	}
	if p.m, err = session.New(kvtest.Open(t, p.client, cfg.Options), cfg.sessionOptions); err != nil {
		t.Fatal(err)
	}
	if cfg.LegacyClient != nil {
		p.client = cfg.LegacyClient
	}
	p.site = browsertest.Middleware(p.m, http.HandlerFunc(p.serve))
	return p
}

// carry maps the values of the program's old sessions.
func carry(values map[string]any) (session.Carried, error) {
	user, _ := values["userID"].(string)
	c := session.Carried{UserID: user, Values: map[string]any{}}
	c.AuthTime, _ = values["loginAt"].(time.Time)
	if old, ok := values["cart"].(cart); ok {
		c.Values["cart"] = old
	}
	return c, nil
}

func (p *program) serve(w http.ResponseWriter, r *http.Request) {
	s, err := session.From(r.Context())
	if err != nil {
		p.m.Refuse(w, r, err)
		return
	}
	if r.URL.Path == "/logout" {
		if err := s.Logout(r.Context()); err != nil {
			p.m.Refuse(w, r, err)
		}
		return
	}
	old, err := cartKey.Get(s)
	if err != nil {
		p.t.Error(err)
	}
	_, _ = io.WriteString(w, s.UserID()+" "+strings.Join(old.Items, ","))
}

// login lets a browser log in at the program as it was, and gives it to the program after
// the switch.
func (p *program) login(remember bool) *browsertest.Browser {
	p.t.Helper()
	before := browsertest.NewBrowser(p.old.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.old.RememberMe(r.Context(), remember)
		p.old.Put(r.Context(), "userID", "alice")
		p.old.Put(r.Context(), "cart", cart{[]string{"tea", "milk"}})
	})))
	if resp := before.Do("POST", "/login"); resp.StatusCode != 200 {
		p.t.Fatal(resp.Status)
	}
	after := browsertest.NewBrowser(p.site)
	after.SetCookie(p.old.Cookie.Name, before.Cookie(p.old.Cookie.Name))
	return after
}

func get(t *testing.T, b *browsertest.Browser, want string) *http.Response {
	t.Helper()
	resp := b.Do("GET", "/")
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || string(text) != want {
		t.Errorf("got %d %q, want %q", resp.StatusCode, text, want)
	}
	return resp
}

// dumps returns the old sessions as they are stored.
func (p *program) dumps() map[string]string {
	p.t.Helper()
	all := map[string]string{}
	for _, key := range redistest.Keys(p.t, p.client, p.prefix+"scs:") {
		text, err := p.client.Get(p.t.Context(), key).Result()
		if err != nil {
			p.t.Fatal(err)
		}
		ends, err := p.client.PExpireTime(p.t.Context(), key).Result()
		if err != nil && !strings.Contains(err.Error(), "unknown command") { // Redis 7.0 and newer know it
			p.t.Fatal(err)
		}
		all[key] = fmt.Sprint(text, ends)
	}
	return all
}

func TestNobodyIsLoggedOut(t *testing.T) {
	redistest.Long(t)
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		for name, changeOld := range map[string]func(*scs.SessionManager){
			"as scs comes": nil,
			"idle timeout": func(m *scs.SessionManager) { m.IdleTimeout = time.Hour },
			"other cookie": func(m *scs.SessionManager) { m.Cookie.Name, m.Cookie.Path = "sid", "/app" },
			"hashed":       func(m *scs.SessionManager) { m.HashTokenInStore = true },
		} {
			t.Run(name, func(t *testing.T) {
				p := newProgram(t, srv, func(o *fromscs.Options) {
					o.HashedTokens = name == "hashed"
					if name == "other cookie" {
						o.Cookie = http.Cookie{Name: "sid", Path: "/app"}
					}
				}, changeOld)
				b := p.login(false)
				before := p.dumps()
				again := b.Clone()
				if len(before) != 1 {
					t.Fatalf("%d old sessions, want 1", len(before))
				}
				resp := get(t, b, "alice tea,milk")
				if cookies := resp.Cookies(); len(cookies) != 1 || cookies[0].Name != ours || cookies[0].MaxAge != 0 {
					t.Errorf("cookies %v", cookies)
				}
				get(t, b, "alice tea,milk")
				get(t, again, "alice tea,milk")
				if b.Cookie(ours) != again.Cookie(ours) || b.Cookie(ours) == "" {
					t.Errorf("the old cookie brings two tokens")
				}
				if resp := b.Do("POST", "/logout"); resp.StatusCode != 200 || b.Cookie(p.old.Cookie.Name) != "" {
					t.Errorf("%d, the old cookie stays after a logout: %q", resp.StatusCode, resp.Header["Set-Cookie"])
				}
				again.SetCookie(ours, "")
				get(t, again, " ")
				for key, text := range p.dumps() {
					if before[key] != text {
						t.Errorf("%s was %q and is %q", key, before[key], text)
					}
				}
				if len(p.dumps()) != 1 {
					t.Errorf("old sessions %v", p.dumps())
				}
			})
		}
	})
}

func TestRememberMeAndLifetime(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		p := newProgram(t, srv, nil, func(m *scs.SessionManager) { m.Cookie.Persist, m.Lifetime = false, 7*24*time.Hour })
		resp := get(t, p.login(true), "alice tea,milk")
		if age := time.Duration(resp.Cookies()[0].MaxAge) * time.Second; age > 7*24*time.Hour || age < 7*24*time.Hour-time.Minute {
			t.Errorf("the cookie is for %v, want the rest of the old one's week", age)
		}
	})
}

// goredisstore leaves a key without TTL when the deadline passes while a request writes.
func TestDeadlineBehindAKeyWithoutTTL(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		p := newProgram(t, srv, nil, nil)
		data, err := scs.GobCodec{}.Encode(time.Now().Add(-time.Second), map[string]any{"userID": "alice"})
		if err != nil {
			t.Fatal(err)
		}
		token := strings.Repeat("A", 43)
		if err := p.client.Set(t.Context(), p.prefix+"scs:session:"+token, data, 0).Err(); err != nil {
			t.Fatal(err)
		}
		defer p.client.Del(context.Background(), p.prefix+"scs:session:"+token)
		b := browsertest.NewBrowser(p.site)
		b.SetCookie("session", token)
		get(t, b, " ")
	})
}

// If an old session can't be decoded, its visitor is a guest, the log says what to do,
// and the old session stays.
func TestOldSessionThatDoesNotDecode(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		for want, data := range map[string]string{
			"gob.Register": unregistered(t),
			// The text of an error may quote a value, so the log has its type.
			"fromscs: decode: *fmt.wrapError": "\x07truncated"[:3],
		} {
			p := newProgram(t, srv, nil, nil)
			token := strings.Repeat("B", 43)
			if err := p.client.Set(t.Context(), p.prefix+"scs:session:"+token, data, time.Hour).Err(); err != nil {
				t.Fatal(err)
			}
			b := browsertest.NewBrowser(p.site)
			b.SetCookie("session", token)
			if resp := get(t, b, " "); len(resp.Cookies()) != 0 {
				t.Errorf("cookies %v", resp.Cookies())
			}
			if log := p.logs.String(); !strings.Contains(log, want) || strings.Contains(log, token) {
				t.Errorf("log %q, want one that says %q", log, want)
			}
		}
		p := newProgram(t, srv, func(o *fromscs.Options) {
			o.Map = func(map[string]any) (session.Carried, error) { return session.Carried{}, errors.New("who is it?") }
		}, nil)
		get(t, p.login(false), " ")
		if log := p.logs.String(); !strings.Contains(log, "fromscs: Map: *errors.errorString") || strings.Contains(log, "who is it?") {
			t.Errorf("log %q", log)
		}
	})
}

// unregistered is an old session with a value of a type that this program does not know:
// its name was changed.
func unregistered(t *testing.T) string {
	data, err := scs.GobCodec{}.Encode(time.Now().Add(time.Hour), map[string]any{"cart": cart{}})
	if err != nil {
		t.Fatal(err)
	}
	const name = "fromscs_test.cart"
	if !bytes.Contains(data, []byte(name)) {
		t.Fatal("the type's name is not in it")
	}
	return strings.Replace(string(data), name, "fromscs_test.bill", 1)
}

// A cookie that is no token of scs costs no command.
func TestMalformedTokens(t *testing.T) {
	reader, err := fromscs.New(fromscs.Options{Map: carry})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	find := func(context.Context, string) (session.LegacyValue, bool, error) {
		asked++
		return session.LegacyValue{}, false, nil
	}
	r, _ := http.NewRequestWithContext(t.Context(), "GET", "/", nil)
	for _, value := range []string{"", "x", strings.Repeat("A", 42), strings.Repeat("A", 44), strings.Repeat("A", 42) + "*", strings.Repeat("A", 42) + "="} {
		t.Run(fmt.Sprintf("%q", value), func(t *testing.T) {
			r.Header.Set("Cookie", "session="+value)
			if _, found, err := reader.Read(t.Context(), r, find); found || err != nil || asked > 0 {
				t.Errorf("%q: found %v, %v, asked %d times, want none of them", value, found, err, asked)
			}
		})
	}
	r.Header.Set("Cookie", "session="+strings.Repeat("A", 43))
	if _, _, _ = reader.Read(t.Context(), r, find); asked != 1 {
		t.Errorf("a token: asked %d times, want once", asked)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []fromscs.Options{{}, {Map: carry, Cookie: http.Cookie{Name: "a b"}}} {
		if _, err := fromscs.New(o); err == nil {
			t.Errorf("%+v was accepted", o.Cookie)
		}
	}
}

// The reader must not panic on any stored bytes.
func FuzzDecode(f *testing.F) {
	data, err := scs.GobCodec{}.Encode(time.Now().Add(time.Hour), map[string]any{"cart": cart{[]string{"a"}}, "userID": "alice"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:20])
	reader, err := fromscs.New(fromscs.Options{Map: carry})
	if err != nil {
		f.Fatal(err)
	}
	r, _ := http.NewRequestWithContext(f.Context(), "GET", "/", nil)
	r.Header.Set("Cookie", "session="+strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, data []byte) {
		old, found, err := reader.Read(t.Context(), r, func(context.Context, string) (session.LegacyValue, bool, error) {
			return session.LegacyValue{Data: data}, true, nil
		})
		if found && (err != nil || len(old.ID) != 43 || old.Expires.IsZero()) {
			t.Errorf("%+v, %v", old, err)
		}
	})
}
