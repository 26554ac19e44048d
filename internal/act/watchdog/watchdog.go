// Package watchdog has the machine reset where a primary on it outlives its authority and nothing else ends it: not the
// node process, which may hang, nor the guard, which may have been killed. It is the kernel's /dev/watchdog, a timer that
// resets the machine unless it is told in time that all is well.
//
// The device is opened only while the node has authority as primary, is told so only as long as that authority outlasts the
// timer, and is closed in good order (the magic close) once no instance here is a primary any more. It must not decide who is
// primary.
package watchdog

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/event"
)

// EventFailed is the kind of record that says that the watchdog does not work.
const EventFailed = "watchdog.failed"

// A Device is an open watchdog: its timer runs.
type Device interface {
	// Timeout is after what time without a Kick the machine is reset.
	Timeout() time.Duration
	Kick() error
	// Disarm stops the timer and closes the device.
	Disarm() error
}

// Options say which device is used, and how.
type Options struct {
	Path string
	// Required says that without it the node is not to be a primary.
	Required bool
	// Timeout is what the timer is set to, at most: the machine is reset before the authority is over.
	Timeout time.Duration
	// Open opens the device; OpenDevice where nil.
	Open   func(path string, timeout time.Duration) (Device, error)
	Append func(event.Record)
	Log    *slog.Logger
}

// A Watchdog keeps the device for all services of a node. Its methods may be called from any goroutine. A nil one does
// nothing.
type Watchdog struct {
	o Options

	mu     sync.Mutex
	device Device
	until  map[string]time.Time // services of which this node is primary: for how long it has that authority
	told   string               // the problem that was told last
}

// New returns a watchdog that is not open.
func New(o Options) *Watchdog {
	if o.Open == nil {
		o.Open = OpenDevice
	}
	if o.Append == nil {
		o.Append = func(event.Record) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Watchdog{o: o, until: map[string]time.Time{}}
}

// Check says why the device cannot be used as it has to be: it opens and closes it, unless it is open. Where the device is not
// required that is told on the event log, and is no error.
func (w *Watchdog) Check() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.device != nil {
		return nil
	}
	d, err := w.open()
	if err == nil {
		err = d.Disarm()
	}
	if err != nil && w.o.Required {
		return err
	}
	if err != nil {
		w.tell(err)
	}
	return nil
}

func (w *Watchdog) open() (Device, error) {
	d, err := w.o.Open(w.o.Path, w.o.Timeout)
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	if d.Timeout() <= w.o.Timeout || !w.o.Required {
		return d, nil
	}
	return nil, errors.Join(fmt.Errorf("watchdog: %s cannot be set to less than %v, and a primary's authority is certain for %v only: use a store profile with longer times, or take required out",
		w.o.Path, d.Timeout(), w.o.Timeout), d.Disarm())
}

// Keep says until when this node has authority as primary of a service. It opens the device where it is not, and tells it
// that all is well where every authority lasts at least for as long as its timer then runs.
func (w *Watchdog) Keep(service string, until time.Time) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until[service] = until
	now := time.Now()
	needs := w.o.Timeout
	if w.device != nil && !w.late() {
		needs = w.device.Timeout()
	}
	for _, u := range w.until {
		if u.Sub(now) < needs {
			return
		}
	}
	if w.device == nil {
		d, err := w.open()
		if err != nil {
			w.tell(err)
			return
		}
		w.device = d
		if w.late() {
			w.tell(fmt.Errorf("watchdog: %s cannot be set to less than %v: where this node hangs, the machine is reset later than its authority ends", w.o.Path, d.Timeout()))
		}
		w.o.Log.Info("watchdog armed", "device", w.o.Path, "timeout", d.Timeout())
	}
	if err := w.device.Kick(); err != nil {
		w.tell(fmt.Errorf("watchdog: %w", err))
		return
	}
	if !w.late() {
		w.told = ""
	}
}

// late says whether the device's timer is longer than wanted.
func (w *Watchdog) late() bool { return w.device != nil && w.device.Timeout() > w.o.Timeout }

// Release says that no instance of a service runs as a primary here.
func (w *Watchdog) Release(service string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.until, service)
	if len(w.until) == 0 {
		w.disarm()
	}
}

// Close ends it in good order.
func (w *Watchdog) Close() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.until)
	w.disarm()
}

func (w *Watchdog) disarm() {
	if w.device == nil {
		return
	}
	if err := w.device.Disarm(); err != nil {
		w.tell(fmt.Errorf("watchdog: %w", err))
	} else {
		w.o.Log.Info("watchdog disarmed", "device", w.o.Path)
	}
	w.device = nil
}

// tell puts a problem on the event log, once.
func (w *Watchdog) tell(err error) {
	if w.told == err.Error() {
		return
	}
	w.told = err.Error()
	w.o.Append(event.Record{Kind: EventFailed, Message: "the watchdog does not protect this node", Evidence: err.Error()})
}
