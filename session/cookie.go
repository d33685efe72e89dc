package session

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatekit/gatekit/session/internal/token"
)

// Cookie has the attributes of the cookie that carries the token. The zero value is the
// safest one that works for a site on one host: "__Host-id", Secure, HttpOnly,
// SameSite=Lax, Path=/, no Domain. [New] refuses contradictions. Max-Age is not among
// them: it follows the session's [Lifetime].
type Cookie struct {
	// Name of the cookie, at most 64 characters. Empty means "__Host-id"; "__Secure-id"
	// with a Domain or another Path; "id" with [Options.InsecureCookie]. A name with one
	// of the prefixes "__Host-", "__Secure-", "__Http-" and "__Host-Http-" needs the
	// attributes that the prefix promises. Browsers older than Chrome 140 don't enforce
	// the last two.
	Name string

	// Domain shares the cookie with all hosts below that domain. Empty means this host
	// only.
	Domain string

	// Path of the cookie. Empty means "/".
	Path string

	// SameSite is Lax, Strict or None. 0 means Lax. With Strict, a visitor who follows a
	// link from another site is a guest on the first page.
	SameSite http.SameSite

	// Partitioned makes browsers keep a separate cookie for each site that embeds this
	// one (CHIPS). SameSite must be None.
	Partitioned bool

	// ReadableByScripts leaves out HttpOnly, so that scripts, injected ones included, can
	// steal the session.
	ReadableByScripts bool
}

const (
	maxCookieName = 64
	maxOldCookies = 8
	maxCandidates = 8                    // tokens of one request that are looked up
	maxCookieLife = 400 * 24 * time.Hour // browsers cut a longer life to this
)

// prefixes are the cookie name prefixes that browsers enforce. Of two that begin alike
// the longer one comes first. Browsers ignore their case.
var prefixes = []struct {
	name     string
	host     bool // Path=/ and no Domain
	httpOnly bool
}{
	{"__Host-Http-", true, true},
	{"__Host-", true, false},
	{"__Secure-", false, false},
	{"__Http-", false, true},
}

// complete fills in the defaults and refuses contradictions. The error names the field.
func (c Cookie) complete(insecure bool) (Cookie, error) {
	if c.Path == "" {
		c.Path = "/"
	}
	if c.SameSite == 0 {
		c.SameSite = http.SameSiteLaxMode
	}
	if c.Name == "" {
		switch {
		case insecure:
			c.Name = "id"
		case c.Domain != "" || c.Path != "/":
			c.Name = "__Secure-id"
		default:
			c.Name = "__Host-id"
		}
	}
	if err := c.check(insecure); err != nil {
		return c, err
	}
	probe := c.build("x", insecure)
	if err := probe.Valid(); err != nil {
		return c, fmt.Errorf("Cookie: %w", err)
	}
	if size := len(c.Name) + token.Len; size > 4096 || len(c.Path) > 1024 || len(c.Domain) > 1024 {
		return c, errors.New("Cookie: Path or Domain is longer than 1024")
	}
	return c, nil
}

// completeOld completes the old cookies that c replaced.
func (c Cookie) completeOld(old []Cookie, insecure bool) (complete []Cookie, err error) {
	if len(old) > maxOldCookies {
		return nil, fmt.Errorf("OldCookies: %d: want at most %d", len(old), maxOldCookies)
	}
	for i, o := range old {
		if o, err = o.complete(insecure); err != nil {
			return nil, fmt.Errorf("OldCookies[%d]: %w", i, err)
		}
		if o.Name == c.Name && o.Domain == c.Domain && o.Path == c.Path && o.Partitioned == c.Partitioned {
			return nil, fmt.Errorf("OldCookies[%d]: it has Name, Domain, Path and Partitioned of Cookie, whose own would be removed", i)
		}
		complete = append(complete, o)
	}
	return complete, nil
}

func (c Cookie) check(insecure bool) error {
	switch {
	case len(c.Name) > maxCookieName:
		return fmt.Errorf("Cookie.Name: %d characters: want at most %d", len(c.Name), maxCookieName)
	case c.Path[0] != '/':
		return fmt.Errorf("Cookie.Path %q: want one that begins with /", c.Path)
	case c.SameSite != http.SameSiteLaxMode && c.SameSite != http.SameSiteStrictMode && c.SameSite != http.SameSiteNoneMode:
		return fmt.Errorf("Cookie.SameSite %d: want Lax, Strict or None", c.SameSite)
	case c.Domain != "" && !strings.Contains(strings.Trim(c.Domain, "."), "."):
		return fmt.Errorf("Cookie.Domain %q: browsers refuse a name without a dot: want that of a site, such as example.com", c.Domain)
	case insecure && c.SameSite == http.SameSiteNoneMode:
		return errors.New("Cookie.SameSite None: browsers want Secure with it, which InsecureCookie leaves out")
	case insecure && c.Partitioned:
		return errors.New("Cookie.Partitioned: browsers want Secure with it, which InsecureCookie leaves out")
	case c.Partitioned && c.SameSite != http.SameSiteNoneMode:
		return errors.New("Cookie.Partitioned: within other sites, which it is for, browsers send SameSite None alone: set that, too")
	}
	for _, p := range prefixes {
		if len(c.Name) < len(p.name) || !strings.EqualFold(c.Name[:len(p.name)], p.name) {
			continue
		}
		switch {
		case !strings.HasPrefix(c.Name, p.name):
			return fmt.Errorf("Cookie.Name %q: write the prefix %s, browsers read it in any case", c.Name, p.name)
		case insecure:
			return fmt.Errorf("Cookie.Name %q: %s asks for Secure, which InsecureCookie leaves out", c.Name, p.name)
		case p.host && c.Domain != "":
			return fmt.Errorf("Cookie.Domain %q: the Name's %s asks for none", c.Domain, p.name)
		case p.host && c.Path != "/":
			return fmt.Errorf("Cookie.Path %q: the Name's %s asks for /", c.Path, p.name)
		case p.httpOnly && c.ReadableByScripts:
			return fmt.Errorf("Cookie.ReadableByScripts: the Name's %s asks for HttpOnly", p.name)
		}
		break
	}
	return nil
}

func (c Cookie) build(value string, insecure bool) *http.Cookie {
	return &http.Cookie{
		Name: c.Name, Value: value, Path: c.Path, Domain: c.Domain, SameSite: c.SameSite,
		Secure: !insecure, HttpOnly: !c.ReadableByScripts, Partitioned: c.Partitioned,
	}
}

// set returns the Set-Cookie line with a token. The cookie lasts until the browser is
// closed, or for life if that is positive.
func (c Cookie) set(t token.Token, life time.Duration, insecure bool) string {
	cookie := c.build(t.Reveal(), insecure)
	if life > 0 {
		cookie.MaxAge = int(min(life, maxCookieLife) / time.Second)
		cookie.MaxAge = max(cookie.MaxAge, 1) // 0 would mean: until the browser is closed
	}
	return cookie.String()
}

// clear returns the Set-Cookie line that removes the cookie.
func (c Cookie) clear(insecure bool) string {
	cookie := c.build("", insecure)
	cookie.MaxAge = -1
	return cookie.String()
}

// find returns the tokens in the request's cookies of our name, each once. There may be
// several: browsers send the cookies of all attributes (another Domain or Path, in and
// outside of a partition), and a sibling host can plant one. The first token has a result
// of its own, because most requests have no other. ok is false if there is none, and if
// there are too many.
func (c *Cookie) find(h http.Header) (first token.Token, others []token.Token, ok bool) {
	for _, line := range h["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			name, value, _ := strings.Cut(strings.TrimLeft(pair, " \t"), "=")
			if name != c.Name {
				continue
			}
			t, valid := token.Parse(strings.TrimRight(value, " \t"))
			switch {
			case !valid || t == first || slices.Contains(others, t):
			case first.IsZero():
				first = t
			default:
				others = append(others, t)
			}
			if len(others) == maxCandidates {
				return first, others, false
			}
		}
	}
	return first, others, !first.IsZero()
}

// findBearer returns the token of the Authorization header. A text of another form, such
// as a proxy's JWT, belongs to another program: the cookie counts then.
func findBearer(h http.Header) (t token.Token, ok bool) {
	lines := h["Authorization"]
	if len(lines) != 1 { // with several it is unclear which one counts
		return token.Token{}, false
	}
	scheme, value, _ := strings.Cut(lines[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return token.Token{}, false
	}
	return token.Parse(strings.Trim(value, " "))
}
