package resilience

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"
)

// spans is into how many buckets a window is cut; 16 of 8 bytes fill two cache lines, so that two shards share none.
const spans = 16

// tick numbers the buckets of a window, oldest first. It wraps.
type tick uint32

// ticker tells the bucket of a moment.
type ticker struct{ width time.Duration }

func newTicker(window time.Duration) ticker { return ticker{max(window/spans, 1)} }

func (t ticker) at(now time.Duration) tick { return tick(now / t.width) }

// ring counts events by bucket: each word holds the bucket's tick (upper half) and its count, so that a bucket that has passed out
// of the window needs no sweeper: whoever comes next starts it anew.
type ring [spans]atomic.Uint64

func (r *ring) add(t tick) {
	word := &r[t%spans]
	for {
		old := word.Load()
		switch age := int32(t - tick(old>>32)); {
		case age == 0:
			word.Add(1)
			return
		case age < 0 && age > -1<<16: // this caller was asleep for a whole window: its event is too old to count
			return
		}
		if word.CompareAndSwap(old, uint64(t)<<32|1) {
			return
		}
	}
}

// sum counts the events of the window that ends at t.
func (r *ring) sum(t tick) (n int) {
	for i := range r {
		word := r[i].Load()
		if t-tick(word>>32) < spans {
			n += int(uint32(word))
		}
	}
	return n
}

// rings is a ring that many goroutines write at once without meeting.
type rings []ring

func newRings() rings { return make(rings, shards()) }

func (r rings) add(t tick) { r[shard(len(r))].add(t) }

func (r rings) sum(t tick) (n int) {
	for i := range r {
		n += r[i].sum(t)
	}
	return n
}

// counts is a sum that many goroutines change at once without meeting.
type counts []struct {
	n atomic.Int64
	_ [120]byte // a pair of cache lines each: processors fetch them in pairs
}

func newCounts() counts { return make(counts, shards()) }

func (c counts) add(n int64) { c[shard(len(c))].n.Add(n) }

func (c counts) sum() (n int64) {
	for i := range c {
		n += c[i].n.Load()
	}
	return n
}

// shards is how many shards to make: a power of two, four for each processor, so that two that are busy seldom meet by chance;
// at most 64.
func shards() int {
	return min(64, 1<<bits.Len(uint(4*runtime.GOMAXPROCS(0)-1)))
}

// shard picks one of n (a power of two) by where the goroutine's stack lies: goroutines that run at once have different stacks, and
// one that stays finds its shard in its own cache. It costs a tenth of what asking for the processor's number would.
func shard(n int) int {
	var here byte
	const odd = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio: spreads nearby addresses (Knuth, vol. 3, 6.4)
	address := uint64(uintptr(unsafe.Pointer(&here))) >> 11
	return int((address * odd) >> 32 & uint64(n-1))
}
