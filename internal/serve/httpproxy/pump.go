package httpproxy

import (
	"errors"
	"sync/atomic"
	"time"
)

// A pump sends the rest of a request's body to the member while the exchange waits for the answer.
type pump struct {
	running  bool // as the exchange's goroutine knows it
	done     chan struct{}
	ending   atomic.Bool  // the last piece was read from the client
	moved    atomic.Int64 // instant of the last piece written
	readErr  error        // the client's side failed; valid after done
	writeErr error        // the member's side did
}

// settleFor is how long an answer waits for the last piece of the body, which has been read, to be written.
const settleFor = 20 * time.Millisecond

// reset forgets the pump of an exchange before.
func (p *pump) reset() { p.running, p.readErr, p.writeErr = false, nil, nil }

func (e *exchange) startPump() {
	p := &e.pumping
	if p.done == nil {
		p.done = make(chan struct{}, 1)
	}
	p.reset()
	p.running = true
	p.ending.Store(false)
	p.moved.Store(now())
	go e.pump(e.stream)
}

func (e *exchange) pump(s stream) {
	p := &e.pumping
	defer func() { p.done <- struct{}{} }()
	for {
		b, err := e.body.Next()
		if err != nil {
			p.readErr = err
			s.Interrupt() // nobody needs the answer
			return
		}
		p.ending.Store(b.End)
		if err := s.Write(b); err != nil {
			p.writeErr = err // an answer may have come in spite of it
			return
		}
		p.moved.Store(now())
		if b.End {
			return
		}
	}
}

// poll looks whether the pump has ended by itself.
func (e *exchange) poll() bool {
	if !e.pumping.running {
		return true
	}
	select {
	case <-e.pumping.done:
		e.pumping.running = false
	default:
	}
	return !e.pumping.running
}

// settlePump waits a moment for a pump that has only its last piece to write: members answer faster than goroutines wake.
func (e *exchange) settlePump() {
	if e.poll() || !e.pumping.ending.Load() {
		return
	}
	t := time.NewTimer(settleFor)
	defer t.Stop()
	select {
	case <-e.pumping.done:
		e.pumping.running = false
	case <-t.C:
	}
}

// errUnsent says that the body did not reach the member as a whole.
var errUnsent = errors.New("the request's body was not sent to its end")

// stopPump ends the pump. The error says why the body did not reach the member as a whole, nil where it did.
func (e *exchange) stopPump() error {
	p := &e.pumping
	if !e.poll() {
		e.stream.Interrupt()
		e.client.Interrupt()
		<-p.done
		p.running = false
		e.client.Resume()
		if p.readErr == nil && p.writeErr == nil {
			return nil
		}
		p.readErr = nil // it was we who ended it
		return errUnsent
	}
	if p.readErr != nil {
		return p.readErr
	}
	return p.writeErr
}

// extended is the new deadline for the head of an answer while the body is still on its way, 0 for none.
func (e *exchange) extended(err error, patience time.Duration) instant {
	failed := tryErrorIn(err)
	if !e.pumping.running || patience <= 0 || failed == nil || failed.failure != failTimeout {
		return 0
	}
	t := now()
	if e.by != 0 && t >= e.by {
		return 0
	}
	from := t
	if e.poll() {
		from = e.pumping.moved.Load()
	}
	if by := earlier(after(from, patience), e.by); by > t {
		return by
	}
	return 0
}

// blame finds whose fault a failed try is.
func (e *exchange) blame(err error) error {
	if e.pumping.running && errors.Is(err, errInterrupted) { // by the pump, which is about to end
		<-e.pumping.done
		e.pumping.running = false
	}
	if e.poll() && e.pumping.readErr != nil {
		return &clientError{leftEarly(e.pumping.readErr)}
	}
	return err
}
