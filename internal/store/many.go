package store

import (
	"context"
	"errors"
	"slices"
	"time"
)

// doMany is do for many runs at once. It sends them in chunks, one after the other, each
// by one pipeline to each node. Result i belongs to run i. All runs end at the deadline
// of the first. The replies that came by then are kept, and the errors of the other runs
// say which of them were not sent.
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

// doChunk sends the pending runs when it is their turn. Runs that must be sent again go
// into the next pipeline.
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
		// A server lacks the script of these runs. The first run goes alone and brings
		// the text; the others send the hash again.
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

// noTurn returns the error of a run that was not sent. If the caller canceled, or had
// less time than the budget, the error says nothing about Redis and is the context's.
func (c *run) noTurn(err error) error {
	end := ending{script: c.script, what: notSent, err: err}
	switch {
	case errors.Is(err, context.Canceled):
		return end.left()
	case c.hurried:
		return end.hurried()
	}
	return end.failure(c.at, false)
}

// sendTogether sends the pending runs once and stores the replies. It returns the runs to
// send again; those whose server lacked the script come first.
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
