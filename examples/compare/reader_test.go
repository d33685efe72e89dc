package compare

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// redisReader takes everything that a server holds after one login and tries each piece
// as the cookie. The server must not hold long pieces of the cookie either: a reader may
// know how to put them together.
func redisReader(t *testing.T, k sessionKit) (finding, error) {
	server := redistest.NewSingle(t)
	s, err := k.open(t, recommended, server.Addrs()[0])
	if err != nil {
		return finding{}, err
	}
	p, err := s.login("alice")
	if err != nil {
		return finding{}, err
	}
	client, err := newClient(t, recommended, server.Addrs()[0])
	if err != nil {
		return finding{}, err
	}
	held, err := everything(t, client)
	if err != nil {
		return finding{}, err
	}
	name, token, _ := strings.Cut(p.cookie, "=")
	for _, text := range held {
		if sharesPiece(token, text) {
			return yes(true), nil
		}
		for _, part := range append(strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == '_' }), text) {
			switch p := s.get("/", name+"="+part); {
			case p.loggedIn():
				return yes(true), nil
			case p.status == http.StatusServiceUnavailable: // other statuses are answers to a wrong cookie
				return finding{}, errors.New("a read failed")
			}
		}
	}
	return yes(false), nil
}

// sharesPiece reports whether 16 characters in a row of the token, 96 bits as a rule,
// stand in the text.
func sharesPiece(token, text string) bool {
	const n = 16
	for i := 0; i+n <= len(token); i++ {
		if strings.Contains(text, token[i:i+n]) {
			return true
		}
	}
	return false
}

// everything returns all that a server holds: names of keys, fields and values.
func everything(t *testing.T, client redis.UniversalClient) (all []string, err error) {
	ctx := context.Background()
	for _, key := range redistest.Keys(t, client, "") {
		kind, err := client.Type(ctx, key).Result()
		if err != nil {
			return nil, err
		}
		all = append(all, key)
		switch kind {
		case "string":
			v, err := client.Get(ctx, key).Result()
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		case "hash":
			fields, err := client.HGetAll(ctx, key).Result()
			if err != nil {
				return nil, err
			}
			for field, v := range fields {
				all = append(all, field, v)
			}
		case "zset":
			members, err := client.ZRange(ctx, key, 0, -1).Result()
			if err != nil {
				return nil, err
			}
			all = append(all, members...)
		default:
			t.Fatalf("key of type %s: teach this experiment to read it", kind)
		}
	}
	return all, nil
}
