package store

import (
	"context"
	"errors"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// command is a command with a reply of integers, which the client must not send twice.
type command struct{ *redis.IntSliceCmd }

// NoRetry makes the client send the command once. The client still follows redirects of a
// cluster, because a node that redirects ran nothing.
func (command) NoRetry() bool { return true }

func (c *run) command(ctx context.Context) command {
	cmd := redis.NewIntSliceCmd(ctx, c.words...)
	cmd.SetFirstKeyPos(3)
	return command{cmd}
}

// do sends the script until it gets a reply, the deadline passes, or an error forbids
// another send. A reply that has not as many integers as wanted is malformed.
func (s *Store) do(c *run, want int) ([]int64, error) {
	var cmd command
	err := s.repeat(c, func() error {
		cmd = c.command(c)
		return s.send(c, cmd)
	})
	if err != nil { // the client may still own cmd
		return nil, err
	}
	return c.integersOf(cmd, want)
}

func (c *run) integersOf(cmd command, want int) ([]int64, error) {
	if got := len(cmd.Val()); got != want {
		return nil, c.malformedf("%d integers, want %d", got, want)
	}
	return cmd.Val(), nil
}

// send sends a command, by itself or together with others.
func (s *Store) send(c *run, cmd redis.Cmder) error {
	if s.shared == nil || c.alone {
		return s.process(c, cmd)
	}
	return s.shared.send(c, cmd)
}

// textCommand is a command with a reply of strings, which the client must not send twice.
type textCommand struct{ *redis.StringSliceCmd }

func (textCommand) NoRetry() bool { return true }

// doText is do for a script that replies with strings, at least so many.
func (s *Store) doText(c *run, least int) ([]string, error) {
	var cmd *redis.StringSliceCmd
	err := s.repeat(c, func() error {
		cmd = redis.NewStringSliceCmd(c, c.words...)
		cmd.SetFirstKeyPos(3)
		return s.send(c, textCommand{cmd})
	})
	if err != nil {
		return nil, err
	}
	if len(cmd.Val()) < least {
		return nil, c.malformed()
	}
	return cmd.Val(), nil
}

// get runs a reading command that replies with a string, and returns "" if there is none.
func (s *Store) get(ctx context.Context, name string, words ...any) (string, error) {
	c := s.begin(ctx, &script{name: name, retry: reads}, 0)
	c.names[0], _ = words[1].(string)
	text := ""
	err := s.repeat(c, func() error {
		cmd := redis.NewStringCmd(c, words...)
		cmd.SetFirstKeyPos(1)
		err := s.send(c, stringCommand{cmd})
		if errors.Is(err, redis.Nil) {
			return nil
		}
		if err == nil { // after an error the client may still own cmd
			text = cmd.Val()
		}
		return err
	})
	return text, err
}

type stringCommand struct{ *redis.StringCmd }

func (stringCommand) NoRetry() bool { return true }

// integers converts strings of a reply to numbers.
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
