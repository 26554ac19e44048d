package pool

import "sync/atomic"

// buckets is how many parts a window has.
const buckets = 10

// window counts the tries of the time looked back on. It takes no lock: a try that comes in the instant in which a bucket is
// emptied may be lost, which no judgement depends on.
type window struct{ parts [buckets]bucket }

type bucket struct {
	turn   atomic.Int64 // which stretch of time it holds
	calls  atomic.Int64
	failed atomic.Int64
	logs   atomic.Int64 // sum of logLatency over the calls that did not fail
}

// tally is what a window holds.
type tally struct{ calls, failed, logs int64 }

func (w *window) add(now, width int64, failed bool, took int64) {
	turn := now / width
	b := &w.parts[turn%buckets]
	if old := b.turn.Load(); old != turn && b.turn.CompareAndSwap(old, turn) {
		b.calls.Store(0)
		b.failed.Store(0)
		b.logs.Store(0)
	}
	b.calls.Add(1)
	if failed {
		b.failed.Add(1)
		return
	}
	b.logs.Add(logLatency(took))
}

func (w *window) sum(now, width int64) (t tally) {
	turn := now / width
	for i := range w.parts {
		b := &w.parts[i]
		if age := turn - b.turn.Load(); age < 0 || age >= buckets {
			continue
		}
		t.calls += b.calls.Load()
		t.failed += b.failed.Load()
		t.logs += b.logs.Load()
	}
	t.failed = min(t.failed, t.calls)
	return t
}

// clear empties the window.
func (w *window) clear() {
	for i := range w.parts {
		w.parts[i].turn.Store(-buckets)
	}
}

func (t tally) plus(o tally) tally {
	return tally{t.calls + o.calls, t.failed + o.failed, t.logs + o.logs}
}

func (t tally) minus(o tally) tally {
	return tally{t.calls - o.calls, t.failed - o.failed, t.logs - o.logs}
}

// rate is the share of calls that failed, 0..1.
func (t tally) rate() float64 {
	if t.calls == 0 {
		return 0
	}
	return float64(t.failed) / float64(t.calls)
}

func (t tally) answers() int64 { return t.calls - t.failed }

// meanLog is the mean of logLatency over the answers.
func (t tally) meanLog() float64 {
	if t.answers() <= 0 {
		return 0
	}
	return float64(t.logs) / float64(t.answers())
}
