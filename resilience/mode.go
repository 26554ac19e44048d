package resilience

import (
	"sync"
	"sync/atomic"
	"time"
)

// ModeOptions says when a degradation mode opens and closes. Open must be above Close: the gap is the hysteresis.
type ModeOptions struct {
	Open  float64       // opens when the signal has been at or above this
	Close float64       // closes when it has been at or below this; half of Open where not given
	For   time.Duration // for so long, to open; 1s where not given
	Rest  time.Duration // for so long, to close; ten times For where not given
	// OnChange is called after each change, never under a lock.
	OnChange func(ModeChange)
}

// ModeChange is a mode that has opened or closed.
type ModeChange struct {
	Name   string
	Open   bool
	Forced bool // by hand
	Signal float64
	At     time.Time
}

// Mode is a named way to do less ("recommendations off"): a switch that the application asks, which opens by itself while a
// signal is high (a shedder's level, a breaker's state, a queue's length), or by hand. It opens fast and closes slowly and at
// a lower signal, as doing less lowers the signal: without that gap it would flap.
type Mode struct {
	name    string
	options ModeOptions
	clock   clock
	open    atomic.Bool

	mu     sync.Mutex
	forced bool
	signal float64
	beyond time.Duration // since when the signal asks for a change; undecided where it does not
}

const undecided = time.Duration(-1)

// NewMode makes a closed mode.
func NewMode(name string, o ModeOptions) *Mode {
	o.Close = orDefault(o.Close, o.Open/2)
	o.For = orDefault(o.For, time.Second)
	o.Rest = orDefault(o.Rest, 10*o.For)
	return &Mode{name: name, options: o, clock: newClock(), beyond: undecided}
}

// Name is how people call it.
func (m *Mode) Name() string { return m.name }

// Open says whether to do less. It costs one load.
func (m *Mode) Open() bool { return m.open.Load() }

// Observe takes the signal; call it at a steady pace, several times within For.
func (m *Mode) Observe(signal float64) {
	m.mu.Lock()
	m.signal = signal
	if m.forced {
		m.mu.Unlock()
		return
	}
	now, open := m.clock.now(), m.open.Load()
	wait, asks := m.options.For, signal >= m.options.Open
	if open {
		wait, asks = m.options.Rest, signal <= m.options.Close
	}
	switch {
	case !asks:
		m.beyond = undecided
	case m.beyond == undecided:
		m.beyond = now
	}
	change := asks && now-m.beyond >= wait
	if change {
		m.beyond = undecided
		m.open.Store(!open)
	}
	m.mu.Unlock()
	if change {
		m.tell(!open, false, signal)
	}
}

// Force opens or closes the mode by hand, until Auto.
func (m *Mode) Force(open bool) {
	m.mu.Lock()
	changed := m.open.Swap(open) != open
	m.forced, m.beyond = true, undecided
	signal := m.signal
	m.mu.Unlock()
	if changed {
		m.tell(open, true, signal)
	}
}

// Auto lets the signal decide again.
func (m *Mode) Auto() {
	m.mu.Lock()
	m.forced = false
	m.mu.Unlock()
}

func (m *Mode) tell(open, forced bool, signal float64) {
	if m.options.OnChange != nil {
		m.options.OnChange(ModeChange{Name: m.name, Open: open, Forced: forced, Signal: signal, At: time.Now()})
	}
}
