package store

import (
	"context"
	"errors"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// command is an integer array reply that the client must not ask for twice.
type command struct{ *redis.IntSliceCmd }

// NoRetry tells the client to send this once. Redirects of a cluster are still followed:
// there, nothing ran.
func (command) NoRetry() bool { return true }

func (c *run) command(ctx context.Context) command {
	cmd := redis.NewIntSliceCmd(ctx, c.words...)
	cmd.SetFirstKeyPos(3)
	return command{cmd}
}

// do sends the script until it replies with as many integers as wanted, its deadline
// passes, or an error forbids to send it again.
func (s *Store) do(c *run, want int) ([]int64, error) {
	var cmd command
	err := s.repeat(c, func() error {
		cmd = c.command(c)
		return s.send(c, cmd)
	})
	if err != nil { // the command may still be the client's
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

// send sends a command, by itself or with others.
func (s *Store) send(c *run, cmd redis.Cmder) error {
	if s.shared == nil || c.alone {
		return s.process(c, cmd)
	}
	return s.shared.send(c, cmd)
}

// textCommand is a reply of strings that the client must not ask for twice.
type textCommand struct{ *redis.StringSliceCmd }

func (textCommand) NoRetry() bool { return true }

// doText is do for a script that replies with at least so many strings.
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

// get runs a reading command that replies with a string; none is "".
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
		if err == nil { // else the command may still be the client's
			text = cmd.Val()
		}
		return err
	})
	return text, err
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
