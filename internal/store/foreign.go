package store

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// ForeignValue is a string of another program.
type ForeignValue struct {
	Found bool          // the key is there, and a string
	Data  []byte        // any bytes
	Left  time.Duration // until it expires; 0 if it does not
}

// absent is what PTTL says of a key that is not there, -2; of one that does not expire it
// says -1.
const absent = time.Duration(-2)

// ForeignGet reads a key that is not the kit's, under the name that it has, by plain
// commands: a permission to read the key is enough. A key of another type than string
// counts as not found.
func (s *Store) ForeignGet(ctx context.Context, key string) (ForeignValue, error) {
	c := s.begin(ctx, foreignGet, 0)
	var value ForeignValue
	err := s.repeat(c, func() error {
		pipe := s.client.Pipeline()
		// The time comes first: a value that expires between the two is not found, rather
		// than found without an end.
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
