package pool

const (
	strideMax    = 1<<16 - 1
	strideOffset = strideMax / 2
)

// pickTurn is round robin, smooth over weights and without a lock: the static stride scheduler of gRPC (proposal A58). The counter
// gives each request a member and a generation; a member lets a generation pass as often as its weight is less than the heaviest.
func (s *Service) pickTurn(v *view, q *Query) *Member {
	g := s.turnGroup(v)
	n := uint64(len(g.slots))
	for range 2 * n { // a whole generation: the heaviest never passes
		turn := g.turns.n.Add(1)
		at, generation := turn%n, turn/n
		sl := &g.slots[at]
		if (sl.stride*generation+at*strideOffset)%strideMax+sl.stride < strideMax {
			continue
		}
		if len(q.Tried) > 0 && q.tried(sl.core) {
			continue
		}
		if m := s.take(v, sl.core, 0); m != nil {
			return m
		}
	}
	return nil
}
