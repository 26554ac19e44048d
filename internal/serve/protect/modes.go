package protect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/resilience"
)

// Signals are what services show that modes go by: shares, 0..1.
type Signals struct {
	Shedding func(service string) float64 // of requests that are refused for their priority
	Breaker  func(service string) float64 // of breakers that are open
}

// Modes are a node's degradation modes. They outlive configurations: one that keeps its name and its conditions keeps its state.
type Modes struct {
	signals Signals
	append  func(event.Record)
	names   atomic.Pointer[[]byte] // of those that are on, as the header says it; nil for none
	list    atomic.Pointer[[]*Mode]
	mu      sync.Mutex
}

// Mode is one of them.
type Mode struct {
	config config.Mode
	mode   *resilience.Mode
	mu     sync.Mutex
	since  time.Time
	forced bool
	signal float64
}

// ModeStatus is a mode at one moment, for people.
type ModeStatus struct {
	Name    string
	On      bool
	ByHand  bool
	Since   time.Time // when it was turned on or off; zero where it never was
	Signal  float64   // what it goes by, 0..1
	When    string    // what that is; empty for one that is turned by hand only
	Service string
}

// States of a mode that people can ask for.
const (
	On   = "on"
	Off  = "off"
	Auto = "auto"
)

// ErrNoMode says that there is no mode of that name.
var ErrNoMode = errors.New("there is no such mode")

// modeLook is how often signals are looked at.
const modeLook = 100 * time.Millisecond

// NewModes makes an empty set. Append takes each change.
func NewModes(s Signals, append func(event.Record)) *Modes { return &Modes{signals: s, append: append} }

// Stage finds or makes the modes of a configuration; nothing that is in use changes before Set.
func (m *Modes) Stage(all []config.Mode) []*Mode {
	staged := make([]*Mode, 0, len(all))
	for _, c := range all {
		mode := m.find(c.Name)
		if mode == nil || !sameWhen(mode.config.When, c.When) || mode.config.Service != c.Service {
			mode = m.newMode(c, mode)
		}
		staged = append(staged, mode)
	}
	return staged
}

func sameWhen(a, b *config.ModeWhen) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// newMode makes a mode; one that was turned by hand stays so.
func (m *Modes) newMode(c config.Mode, old *Mode) *Mode {
	mode := &Mode{config: c}
	o := resilience.ModeOptions{Open: 2, OnChange: func(change resilience.ModeChange) { m.changed(mode, change) }}
	if w := c.When; w != nil {
		o.Open, o.For, o.Rest = w.Level.Of(), time.Duration(w.For), time.Duration(w.Rest)
	}
	mode.mode = resilience.NewMode(c.Name, o)
	if old != nil && old.forced {
		mode.forced = true
		mode.mode.Force(old.mode.Open())
	}
	return mode
}

// Set puts staged modes in force.
func (m *Modes) Set(staged []*Mode) {
	m.list.Store(&staged)
	m.tell()
}

func (m *Modes) all() []*Mode {
	if list := m.list.Load(); list != nil {
		return *list
	}
	return nil
}

func (m *Modes) find(name string) *Mode {
	for _, mode := range m.all() {
		if mode.config.Name == name {
			return mode
		}
	}
	return nil
}

// Run looks at the signals until ctx ends.
func (m *Modes) Run(ctx context.Context) error {
	t := time.NewTicker(modeLook)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			for _, mode := range m.all() {
				mode.look(m.signals)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (m *Mode) look(s Signals) {
	w := m.config.When
	if w == nil {
		return
	}
	signal := 0.0
	if w.Shedding != "" {
		signal = s.Shedding(w.Shedding)
	} else {
		signal = s.Breaker(w.Breaker)
	}
	m.mu.Lock()
	m.signal = signal
	m.mu.Unlock()
	m.mode.Observe(signal)
}

// Open says whether the mode is on.
func (m *Mode) Open() bool { return m.mode.Open() }

// Name is the mode's.
func (m *Mode) Name() string { return m.config.Name }

// Turn turns a mode on or off by hand, or leaves it to itself again. Errors: ErrNoMode, or a state that is none.
func (m *Modes) Turn(name, state string) error {
	mode := m.find(name)
	if mode == nil {
		return ErrNoMode
	}
	if state != On && state != Off && state != Auto {
		return fmt.Errorf("%q is no state of a mode: use on, off or auto", state)
	}
	mode.mu.Lock()
	mode.forced = state != Auto
	mode.mu.Unlock()
	switch {
	case state != Auto:
		mode.mode.Force(state == On)
	case mode.config.When == nil: // nothing else would turn it off
		mode.mode.Force(false)
		mode.mode.Auto()
	default:
		mode.mode.Auto()
	}
	return nil
}

// changed tells of a mode that was turned.
func (m *Modes) changed(mode *Mode, c resilience.ModeChange) {
	mode.mu.Lock()
	mode.since = c.At
	mode.mu.Unlock()
	m.tell()
	r := event.Record{Kind: event.ModeOn, Service: mode.config.Service, Message: "Degradation mode " + c.Name + " is on"}
	if !c.Open {
		r.Kind, r.Message = event.ModeOff, "Degradation mode "+c.Name+" is off"
	}
	switch {
	case c.Forced:
		r.Message += ", by hand."
	default:
		r.Message += "."
		r.Evidence = fmt.Sprintf("%s at %.0f%%", mode.when(), 100*c.Signal)
	}
	if m.append != nil {
		m.append(r)
	}
}

// when says what a mode goes by.
func (m *Mode) when() string {
	switch w := m.config.When; {
	case w == nil:
		return ""
	case w.Shedding != "":
		return "shedding of service " + w.Shedding
	default:
		return "open breakers of service " + w.Breaker
	}
}

// tell puts the names of the modes that are on where requests find them.
func (m *Modes) tell() {
	m.mu.Lock()
	defer m.mu.Unlock()
	var on []string
	for _, mode := range m.all() {
		if mode.Open() {
			on = append(on, mode.config.Name)
		}
	}
	if len(on) == 0 {
		m.names.Store(nil)
		return
	}
	names := []byte(strings.Join(on, ", "))
	m.names.Store(&names)
}

// Names are the modes that are on, as the header Backstay-Degraded lists them; nil where none is. The caller must not change them.
func (m *Modes) Names() []byte {
	if m == nil {
		return nil
	}
	if names := m.names.Load(); names != nil {
		return *names
	}
	return nil
}

// Status is every mode now.
func (m *Modes) Status() []ModeStatus {
	var out []ModeStatus
	for _, mode := range m.all() {
		mode.mu.Lock()
		out = append(out, ModeStatus{
			Name: mode.config.Name, On: mode.Open(), ByHand: mode.forced, Since: mode.since, Signal: mode.signal,
			When: mode.when(), Service: mode.config.Service,
		})
		mode.mu.Unlock()
	}
	return out
}
