package resilience

// flow counts calls at work. Their beginnings it counts as well, in the upper halves of the same words, so that both cost one
// instruction: a call may begin on one shard and end on another, so only the sum of all shards means something.
type flow struct{ words counts }

func newFlow() flow { return flow{newCounts()} }

func (f flow) begin() { f.words.add(1<<32 | 1) }
func (f flow) end()   { f.words.add(-1) }
func (f flow) count() { f.words.add(1 << 32) } // begun and ended

// read is how many calls have begun so far, which wraps, and how many are at work.
func (f flow) read() (begun uint32, atWork int) {
	sum := f.words.sum()
	work := int64(int32(sum))
	return uint32((sum - work) >> 32), int(max(work, 0)) // a call that ends while the shards are read can seem to have ended only
}

func (f flow) atWork() int {
	_, n := f.read()
	return n
}

// recent tells how many of a flow's calls began within a window. It notes how many had begun at the start of each bucket in
// which any did; what began in between is the difference.
type recent struct {
	flow  flow
	pace  *pace
	marks [spans]struct { // under the pace's mutex
		tick  tick
		begun uint32
		valid bool
	}
}

func newRecent(f flow, p *pace) *recent {
	r := &recent{flow: f, pace: p}
	p.moves = r.mark
	return r
}

func (r *recent) begin() {
	r.pace.now()
	r.flow.begin()
}

func (r *recent) count() {
	r.pace.now()
	r.flow.count()
}

func (r *recent) mark(t tick) {
	m := &r.marks[t%spans]
	if m.valid && m.tick == t {
		return // the timer was early, or it fell asleep and was woken within the bucket: the bucket has begun before
	}
	m.tick, m.valid = t, true
	m.begun, _ = r.flow.read()
}

// read is how many began within the last buckets of the window that ends at t, and how many are at work.
func (r *recent) read(t, buckets tick) (begun, atWork int) {
	r.pace.mu.Lock()
	defer r.pace.mu.Unlock()
	total, atWork := r.flow.read()
	for i := range r.marks {
		if m := &r.marks[i]; m.valid && t-m.tick < buckets {
			begun = max(begun, int(total-m.begun))
		}
	}
	return begun, atWork
}
