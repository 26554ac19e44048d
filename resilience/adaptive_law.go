package resilience

import "math"

// seen is what a window has shown of an adaptive limit; times are in seconds.
type seen struct {
	atWork     float64 // calls at work, on average
	throughput float64 // calls served, a second
	latency    float64 // mean
	doubt      float64 // its standard error
	spread     float64 // of single calls, relative to the mean
}

// law is how an adaptive limit moves. It knows neither calls nor a clock.
type law struct {
	limit   float64
	base    float64 // the latency without a queue
	spread  float64 // of single calls, relative to their mean
	steady  bool    // the limit has shrunk once: from then on it grows slowly
	windows int
	history history
}

// wantsMore says that a window should go on, as its mean says too little: unless it says clearly that there is a queue.
func (l *law) wantsMore(s seen) bool {
	return s.doubt > 0.1*s.latency && s.latency-3*s.doubt < 1.5*l.base
}

// learn moves the limit by what a window showed.
func (l *law) learn(s seen) {
	l.windows++
	l.spread += 0.2 * (s.spread - l.spread)
	if l.windows == 1 { // it has seen short calls only, and tells how long the next must be
		l.base = s.latency
		return
	}
	idle := s.atWork < l.limit/2 // the limit does not matter at the moment
	l.rebase(s, idle)
	if idle {
		return
	}
	slope, within := 0.5, math.Inf(1)
	if s.atWork > 0.8*l.limit { // it is the limit that says how many are at work
		l.history.add(math.Log(s.atWork), math.Log(s.throughput))
		slope, within = l.history.slope()
	}
	served := slope - within - 0.5 // above 0: more at work means more served
	if served > 0 && s.latency > l.base {
		l.base += 0.3 * min(2*served, 1) * (s.latency - l.base)
	}
	room := max(1, l.limit/10) // the queue to have
	queued := s.atWork * (1 - l.base/s.latency)
	surely := s.atWork * (1 - l.base/max(s.latency-2*s.doubt, l.base))
	switch {
	case surely > 2*room:
		l.limit, l.steady = max(0.7*l.limit, s.atWork-queued+room), true
	case slope < 0.2 && slope+within < 0.5: // the base itself is the latency of a queue
		l.limit, l.steady = 0.9*l.limit, true
	case queued < room/2 && !l.steady:
		l.limit *= 1.4
	case queued < room/2 && served > 0:
		l.limit *= 1.2
	case queued < room/2:
		l.limit += room
	default:
		const known = 0.05 * 0.05 // of the variance of a mean
		doubt := s.doubt / s.latency
		l.limit += (room - queued) / 4 * known / (known + doubt*doubt)
	}
}

// rebase follows the latency that calls have while they do not queue.
func (l *law) rebase(s seen, idle bool) {
	switch {
	case l.windows == 2, l.windows <= 5 && idle:
		l.base += (s.latency - l.base) / float64(l.windows-1)
	case s.latency+s.doubt < l.base:
		l.base += 0.3 * (s.latency - l.base)
	case idle && s.latency > l.base:
		l.base += 0.1 * (s.latency - l.base)
	}
}

// history is the concurrency and throughput of the last windows, as logarithms.
type history struct {
	x, y [16]float64
	n    int
}

func (h *history) add(x, y float64) {
	h.x[h.n%len(h.x)], h.y[h.n%len(h.y)] = x, y
	h.n++
}

// slope says how far y followed x, near where x is now: that of the regression line, 1 for in proportion, 0 for not at all; and
// its standard error, which is infinite while x hardly varies.
func (h *history) slope() (slope, within float64) {
	const near = 0.75
	all := min(h.n, len(h.x))
	now := h.x[(h.n-1)%len(h.x)]
	var n, mx, my float64
	for i := range all {
		if math.Abs(h.x[i]-now) < near {
			n, mx, my = n+1, mx+h.x[i], my+h.y[i]
		}
	}
	mx, my = mx/n, my/n
	var xx, xy, yy float64
	for i := range all {
		if dx, dy := h.x[i]-mx, h.y[i]-my; math.Abs(h.x[i]-now) < near {
			xx, xy, yy = xx+dx*dx, xy+dx*dy, yy+dy*dy
		}
	}
	const least = 0.04 * 0.04 // of the variance: below four per cent of spread, chance alone makes a slope
	if n < 4 || xx < least*n {
		return 0.5, math.Inf(1)
	}
	slope = xy / xx
	return slope, math.Sqrt(max(yy-slope*xy, 0) / (n - 2) / xx)
}
