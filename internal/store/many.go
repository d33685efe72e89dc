package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// doMany is do for many runs at once, in chunks one after the other, by one pipeline to
// each node; result i belongs to run i. All end at the deadline of the first: what was
// answered by then stands, and what was not sent is known to be.
func (s *Store) doMany(ctx context.Context, runs []*run, want []int) ([][]int64, []error) {
	values, errs := make([][]int64, len(runs)), make([]error, len(runs))
	if len(runs) == 0 {
		return values, errs
	}
	all := &deadline{Context: ctx, at: runs[0].at}
	defer all.end(context.Canceled)
	pending := make([]int, len(runs))
	for i := range runs {
		pending[i], runs[i].at, runs[i].hurried = i, all.at, runs[0].hurried
	}
	for part := range slices.Chunk(pending, chunk) {
		s.doChunk(all, runs, part, want, values, errs)
	}
	return values, errs
}

// doChunk decides the pending runs, when it is their turn. What is due to be sent again
// goes into the next pipeline.
func (s *Store) doChunk(all *deadline, runs []*run, pending, want []int, values [][]int64, errs []error) {
	if err := s.turns.take(all, len(pending)); err != nil {
		for _, i := range pending {
			errs[i] = runs[i].noTurn(err)
		}
		return
	}
	defer s.turns.give(len(pending))
	for _, i := range pending {
		runs[i].from = time.Now()
	}
	for len(pending) > 0 {
		pending = s.sendTogether(all, runs, pending, want, values, errs)
		// A server that lacks a script gets its text with the first run that found out,
		// alone, and not with each of them.
		if len(pending) > 0 && runs[pending[0]].text {
			first := pending[0]
			values[first], errs[first] = s.do(runs[first], want[first])
			pending = pending[1:]
			for _, i := range pending {
				runs[i].bySha()
			}
		}
	}
}

// noTurn is the error of a run that was not sent. Of a caller that had less time than the
// budget, or left, it says nothing about the store.
func (c *run) noTurn(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("gatekit: %s: the caller left before its turn, nothing was done: %w", c.script.name, context.Canceled)
	case c.hurried:
		return c.hurriedFailure(notSent, err)
	}
	return c.failure(notSent, err)
}

// sendTogether sends the pending runs once, stores what came back, and returns those to
// send again: first the ones whose server lacked the script.
func (s *Store) sendTogether(all *deadline, runs []*run, pending, want []int, values [][]int64, errs []error) []int {
	pipe := s.client.Pipeline()
	cmds := make([]command, len(pending))
	for n, i := range pending {
		runs[i].state.Store(waiting)
		cmds[n] = runs[i].command(all)
		_ = pipe.Process(all, cmds[n]) // queues
	}
	late := s.exec(all, pipe)
	var lacking, again []int
	for n, i := range pending {
		c, err := runs[i], late
		if err == nil {
			err = cmds[n].Err()
		}
		resend, err := s.judge(c, err, len(again) == 0) // one pause serves the whole pipeline
		switch {
		case resend && c.text:
			lacking = append(lacking, i)
		case resend:
			again = append(again, i)
		case err == nil:
			values[i], err = c.integersOf(cmds[n], want[i])
		}
		errs[i] = err
	}
	return append(lacking, again...)
}
