package lua

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// textCommand is a reply of strings that the client must not ask for twice.
type textCommand struct{ *redis.StringSliceCmd }

func (textCommand) NoRetry() bool { return true }

// doText is do for a script that replies with at least so many strings.
func (s *Store) doText(c *run, least int) ([]string, error) {
	defer c.end(context.Canceled)
	for sent := 1; ; sent++ {
		cmd := redis.NewStringSliceCmd(c, c.words...)
		cmd.SetFirstKeyPos(3)
		err := s.send(c, textCommand{cmd})
		again, err := s.judge(c, 0, err, 0, sent, sent)
		if again {
			continue
		}
		if err == nil && len(cmd.Val()) < least {
			err = c.malformed()
		}
		return cmd.Val(), err
	}
}

// get runs a reading command that replies with a string; none is "".
func (s *Store) get(ctx context.Context, name string, words ...any) (string, error) {
	c := s.begin(ctx, &script{name: name, retry: safe}, 0)
	defer c.end(context.Canceled)
	for sent := 1; ; sent++ {
		cmd := redis.NewStringCmd(c, words...)
		cmd.SetFirstKeyPos(1)
		err := s.send(c, stringCommand{cmd})
		if errors.Is(err, redis.Nil) {
			return "", nil
		}
		if again, err := s.judge(c, 0, err, 0, sent, sent); !again {
			return cmd.Val(), err
		}
	}
}

type stringCommand struct{ *redis.StringCmd }

func (stringCommand) NoRetry() bool { return true }

// integers reads strings of a reply that are numbers.
func (c *run) integers(texts []string) ([]int64, error) {
	numbers := make([]int64, len(texts))
	for i, text := range texts {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, c.malformed()
		}
		numbers[i] = n
	}
	return numbers, nil
}

func (c *run) malformed() error { return fmt.Errorf("lua: %s: %w", c.script.name, ErrMalformedReply) }
