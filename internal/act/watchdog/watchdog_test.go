package watchdog

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/event"
)

// machine is a fake device, and what it does to the machine.
type machine struct {
	timeout time.Duration
	opened  int
	open    bool
	due     time.Time // of the timer
	fired   time.Time
	broken  error
}

// reset is when the machine was reset first; zero where it was not.
func (m *machine) reset() time.Time {
	if m.open && m.fired.IsZero() && time.Now().After(m.due) {
		m.fired = m.due
	}
	return m.fired
}

func (m *machine) Open(_ string, timeout time.Duration) (Device, error) {
	if m.broken != nil {
		return nil, m.broken
	}
	m.timeout = max(m.timeout, timeout)
	m.opened++
	m.open, m.due = true, time.Now().Add(m.timeout)
	return m, nil
}

func (m *machine) Timeout() time.Duration { return m.timeout }

func (m *machine) Kick() error {
	m.reset()
	m.due = time.Now().Add(m.timeout)
	return nil
}

func (m *machine) Disarm() error {
	m.reset()
	m.open = false
	return nil
}

const tick = 200 * time.Millisecond

// lease keeps services' authority, renewed every 800 ms for 3.6 s, until stop.
func lease(w *Watchdog, last *time.Time, for_ time.Duration, services ...string) {
	began := time.Now()
	renewed := began
	for time.Since(began) < for_ {
		if time.Since(renewed) >= 800*time.Millisecond {
			renewed = time.Now()
		}
		*last = renewed.Add(3600 * time.Millisecond)
		for _, s := range services {
			w.Keep(s, *last)
		}
		time.Sleep(tick)
	}
}

func TestArmedOnlyWithAuthorityAndFiresBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		w := New(Options{Path: "/dev/watchdog", Timeout: 2 * time.Second, Open: m.Open})
		w.Release("db") // a standby
		time.Sleep(time.Minute)
		if m.opened > 0 {
			t.Fatal("it was opened without authority")
		}
		var until time.Time
		lease(w, &until, time.Hour, "db")
		if !m.reset().IsZero() || !m.open || m.opened != 1 {
			t.Fatalf("well, and yet: open %v (%d times), reset %v", m.open, m.opened, m.reset())
		}
		// The store does not answer: the loop goes on, the authority is not renewed.
		for range 50 {
			if time.Now().Before(until) {
				w.Keep("db", until)
			}
			time.Sleep(tick)
		}
		if m.reset().IsZero() || m.reset().After(until) {
			t.Errorf("the machine was reset %v, the authority ended %v", m.reset(), until)
		}
	})
}

func TestHungNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		w := New(Options{Timeout: 2 * time.Second, Open: m.Open})
		var until time.Time
		lease(w, &until, time.Minute, "db")
		time.Sleep(10 * time.Second)
		if m.reset().IsZero() || m.reset().After(until) {
			t.Errorf("the machine was reset %v, the authority ended %v", m.reset(), until)
		}
	})
}

func TestReleasedAndClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		w := New(Options{Timeout: 2 * time.Second, Open: m.Open})
		var until time.Time
		lease(w, &until, time.Minute, "db", "sessions")
		w.Release("db")
		lease(w, &until, time.Minute, "sessions")
		if !m.open {
			t.Error("it was closed while the node is primary of another service")
		}
		w.Release("sessions")
		time.Sleep(time.Minute)
		if m.open || !m.reset().IsZero() {
			t.Errorf("released: open %v, reset %v", m.open, m.reset())
		}
		lease(w, &until, time.Minute, "db")
		w.Close()
		time.Sleep(time.Minute)
		if m.open || m.opened != 2 || !m.reset().IsZero() {
			t.Errorf("closed: open %v (%d times), reset %v", m.open, m.opened, m.reset())
		}
		// One of two loses its authority without being stopped.
		lease(w, &until, time.Minute, "db", "sessions")
		gone := until
		lease(w, &until, 10*time.Second, "db")
		if m.reset().IsZero() || m.reset().After(gone) {
			t.Errorf("the machine was reset %v, the authority ended %v", m.reset(), gone)
		}
	})
}

func TestProblemsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		o := Options{Path: "/dev/watchdog", Timeout: 2 * time.Second, Append: func(r event.Record) { told = append(told, r.Evidence) }}
		slow := &machine{timeout: 10 * time.Second}
		o.Open, o.Required = slow.Open, true
		if err := New(o).Check(); err == nil || !strings.Contains(err.Error(), "cannot be set to less than 10s") || slow.open {
			t.Errorf("required, and too slow: %v, left open %v", err, slow.open)
		}
		o.Required = false
		w := New(o)
		if err := w.Check(); err != nil {
			t.Error(err)
		}
		var until time.Time
		lease(w, &until, time.Minute, "db")
		if !slow.open || !slow.reset().IsZero() || len(told) != 1 || !strings.Contains(told[0], "later than its authority ends") {
			t.Errorf("not required, and too slow: open %v, reset %v, told %q", slow.open, slow.reset(), told)
		}
		w.Close()

		told = nil
		missing := &machine{broken: errors.New("there is none")}
		o.Open = missing.Open
		w = New(o)
		if err := w.Check(); err != nil {
			t.Error(err)
		}
		lease(w, &until, time.Minute, "db")
		if len(told) != 1 || told[0] != "watchdog: there is none" {
			t.Errorf("told %q", told)
		}
		o.Required = true
		if err := New(o).Check(); err == nil || err.Error() != "watchdog: there is none" {
			t.Errorf("required and missing: %v", err)
		}
	})
}

func TestNone(t *testing.T) {
	var w *Watchdog
	w.Keep("db", time.Now())
	w.Release("db")
	w.Close()
	if err := w.Check(); err != nil {
		t.Error(err)
	}
}
