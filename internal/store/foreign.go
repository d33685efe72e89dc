package store

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// ForeignValue is a string value that another program wrote.
type ForeignValue struct {
	Found bool          // the key is there, and a string
	Data  []byte        // any bytes
	Left  time.Duration // until it expires; 0 if it does not
}

// absent is the reply of PTTL for a key that is not there, -2. For a key that does not
// expire the reply is -1.
const absent = time.Duration(-2)

// ForeignGet reads a key of another program by its full name. It uses plain commands, so
// the Redis user needs only the permission to read the key. A key of another type than
// string counts as not found.
func (s *Store) ForeignGet(ctx context.Context, key string) (ForeignValue, error) {
	c := s.begin(ctx, foreignGet, 0)
	var value ForeignValue
	err := s.repeat(c, func() error {
		pipe := s.client.Pipeline()
		// PTTL goes first. If the value expires between the two commands, it is not
		// found; in the other order it would be found without an expiry.
		left, data := pipe.PTTL(c, key), pipe.Get(c, key)
		err := s.exec(&c.deadline, pipe)
		if err != nil {
			return err
		}
		if err = left.Err(); err == nil {
			err = data.Err()
		}
		if err == redis.Nil || redis.HasErrorPrefix(err, "WRONGTYPE") || err == nil && left.Val() == absent {
			return nil
		}
		if err == nil {
			value = ForeignValue{Found: true, Data: []byte(data.Val()), Left: max(left.Val(), 0)}
		}
		return err
	})
	return value, err
}
