package lua

// PipelineAbove sets how many calls go out each by itself; 0 has all share the auto-pipeline.
func (s *Store) PipelineAbove(n int64) { s.shared.above = n }
