package lua

import "context"

// doMany is do for many runs at once, by one pipeline to each node; result i belongs to run i. All end at the
// deadline of the first. What is due to be sent again goes into the next pipeline.
func (s *Store) doMany(ctx context.Context, runs []*run, want []int) ([][]int64, []error) {
	values, errs := make([][]int64, len(runs)), make([]error, len(runs))
	if len(runs) == 0 {
		return values, errs
	}
	all := &deadline{Context: ctx, at: runs[0].at}
	defer all.end(context.Canceled)
	pending := make([]int, len(runs))
	for i := range runs {
		pending[i], runs[i].at = i, all.at
	}
	for sent := 1; len(pending) > 0; sent++ {
		pending = s.pipeline(all, runs, pending, want, sent, values, errs)
		// A server that lacks a script gets its text with the first run that found out, alone, and not with each of them.
		if len(pending) > 0 && runs[pending[0]].words[0] == "eval" {
			first := pending[0]
			values[first], errs[first] = s.do(runs[first], want[first])
			pending, sent = pending[1:], sent-1
			for _, i := range pending {
				runs[i].words[0], runs[i].words[1] = "evalsha", runs[i].script.sha
			}
		}
	}
	return values, errs
}

// pipeline sends the pending runs once, stores what came back, and returns those to send again: first the ones whose server
// lacked the script.
func (s *Store) pipeline(ctx context.Context, runs []*run, pending, want []int, sent int, values [][]int64, errs []error) []int {
	pipe := s.client.Pipeline()
	cmds := make([]command, len(pending))
	for n, i := range pending {
		cmds[n] = runs[i].command(ctx)
		_ = pipe.Process(ctx, cmds[n]) // queues; each command bears its own error
	}
	_, _ = pipe.Exec(ctx)
	var lacking, again []int
	waited := false
	for n, i := range pending {
		err := cmds[n].Err()
		switch classify(err) {
		case noScript:
			runs[i].words[0], runs[i].words[1] = "eval", runs[i].script.src
			lacking = append(lacking, i)
			continue
		case ran:
			values[i] = cmds[n].Val()
		}
		// One pause serves the whole pipeline.
		pause := sent
		if waited {
			pause = 0
		}
		resend, err := s.judge(runs[i], len(cmds[n].Val()), err, want[i], sent, pause)
		if resend {
			again, waited = append(again, i), true
		}
		errs[i] = err
	}
	return append(lacking, again...)
}
