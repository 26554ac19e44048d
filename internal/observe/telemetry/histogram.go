package telemetry

import (
	"math"
	"math/bits"
	"sort"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// A histogram counts durations into cells that are fine enough for both of Prometheus' forms: the cells' bounds are
// the union of the native histogram's (schema 3: eight to each power of two, at most 9 % wide) and the classic
// buckets'. One observation is two atomic adds; both forms are added up when somebody scrapes.
//
// prometheus.Histogram with native buckets takes several times as long: it searches both forms and keeps a sync.Map.
type histogram [maxCells]atomic.Uint64

// A histogram's sum stands apart, beside the other counters of its owner that every request adds to: one cache line
// then moves between cores instead of several.
type sum struct{ atomic.Uint64 } // in units of sumUnit

const (
	schema   = 3   // native resolution: 2^schema buckets to each power of two
	firstExp = -17 // zero bucket ends at 2^-17 s (7.6 µs)
	lastExp  = 13  // all above 2^13 s (2.3 h) counts into one last bucket
	maxCells = 256 // enough for the union of bounds; newLayout checks
	sumShift = 6   // the sum counts in 64 ns, so that 10,000 sessions at once take years to overflow it
	sumUnit  = 1 << sumShift
	// The look-up by leading bits: for each power of two of nanoseconds 16 steps.
	stepBits = 4
)

// classicBounds are the upper bounds of the classic buckets in seconds.
var classicBounds = []float64{
	0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
}

// cell is one range of durations, above the cell before it, up to its bound.
type cell struct {
	bound   float64 // seconds, inclusive
	native  int     // index of the native bucket it belongs to
	classic int     // index of the classic bucket it belongs to
}

// layout is shared by all histograms and never changes.
var layout = newLayout()

type cellLayout struct {
	cells  []cell
	bounds [maxCells]int64       // the same in nanoseconds
	first  [64 << stepBits]uint8 // leading bits of a duration → first cell it may be in
}

func newLayout() *cellLayout {
	l := &cellLayout{}
	var bounds []float64
	for i := firstExp << schema; i <= lastExp<<schema; i++ {
		bounds = append(bounds, math.Exp2(float64(i)/(1<<schema)))
	}
	bounds = append(bounds, classicBounds...)
	sort.Float64s(bounds)
	for i, b := range bounds {
		if i > 0 && b == bounds[i-1] {
			continue
		}
		l.cells = append(l.cells, cell{
			bound:   b,
			native:  int(math.Ceil(math.Log2(b)*(1<<schema) - 1e-9)),
			classic: sort.SearchFloat64s(classicBounds, b),
		})
	}
	l.cells = append(l.cells, cell{bound: math.Inf(1), native: lastExp<<schema + 1, classic: len(classicBounds)})
	if len(l.cells) > maxCells {
		panic("telemetry: maxCells is too small")
	}
	for i := range l.bounds {
		l.bounds[i] = math.MaxInt64
		if i < len(l.cells)-1 {
			l.bounds[i] = int64(math.Floor(l.cells[i].bound*1e9 + 1e-6))
		}
	}
	for s := range l.first {
		l.first[s] = uint8(sort.Search(len(l.cells)-1, func(i int) bool { return l.bounds[i] >= stepStart(s) }))
	}
	return l
}

// step numbers durations by their highest bit and the stepBits below it.
func step(ns int64) int {
	n := bits.Len64(uint64(ns))
	if n <= stepBits {
		return int(ns)
	}
	return n<<stepBits | int(uint64(ns)>>(n-1-stepBits))&(1<<stepBits-1)
}

// stepStart is the smallest duration with this step (or any below it, for steps that do not occur).
func stepStart(s int) int64 {
	n := s >> stepBits
	if n <= stepBits {
		return int64(min(s, 1<<stepBits-1))
	}
	return int64(1)<<(n-1) | int64(s&(1<<stepBits-1))<<(n-1-stepBits)
}

// observe counts one duration; a negative one counts as 0.
func (h *histogram) observe(d time.Duration, total *sum) {
	ns := max(int64(d), 0)
	i := layout.first[step(ns)&(64<<stepBits-1)]
	for ns > layout.bounds[i] {
		i++
	}
	h[i].Add(1)
	total.Add((uint64(ns) + sumUnit/2) >> sumShift)
}

// write adds the histogram up in both forms.
func (h *histogram) write(total *sum) *dto.Histogram {
	out := &dto.Histogram{
		Schema:        new(int32(schema)),
		ZeroThreshold: new(math.Exp2(firstExp)),
	}
	seconds := float64(total.Load()) * sumUnit / 1e9
	classic := make([]uint64, len(classicBounds)+1)
	var count, zero uint64
	var sparse nativeBuckets
	for i, c := range layout.cells {
		n := h[i].Load()
		if n == 0 {
			continue
		}
		count += n
		classic[c.classic] += n
		if c.native <= firstExp<<schema {
			zero += n
			continue
		}
		sparse.add(int32(c.native), int64(n))
	}
	sparse.close()
	var cumulative uint64
	for i, b := range classicBounds {
		cumulative += classic[i]
		out.Bucket = append(out.Bucket, &dto.Bucket{UpperBound: new(b), CumulativeCount: new(cumulative)})
	}
	out.SampleCount = new(count)
	out.SampleSum = new(seconds)
	out.ZeroCount = new(zero)
	out.PositiveSpan, out.PositiveDelta = sparse.spans, sparse.deltas
	return out
}

// nativeBuckets writes counts in ascending order as spans and deltas.
type nativeBuckets struct {
	spans  []*dto.BucketSpan
	deltas []int64
	index  int32 // of the bucket being filled
	count  int64 // what it holds
	last   int64 // what the bucket before it held
	any    bool
}

// add counts n into the bucket with this index, which is not below the one before.
func (b *nativeBuckets) add(index int32, n int64) {
	if b.any && index == b.index {
		b.count += n
		return
	}
	gap := index
	if b.any {
		b.close()
		gap = index - b.index - 1
	}
	if len(b.spans) == 0 || gap > 0 {
		b.spans = append(b.spans, &dto.BucketSpan{Offset: new(gap), Length: new(uint32(0))})
	}
	*b.spans[len(b.spans)-1].Length++
	b.any, b.index, b.count = true, index, n
}

// close ends the bucket being filled.
func (b *nativeBuckets) close() {
	if b.any {
		b.deltas = append(b.deltas, b.count-b.last)
		b.last = b.count
	}
}
