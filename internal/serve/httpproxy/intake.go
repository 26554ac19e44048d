package httpproxy

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// An intake reads a body that can only be read by blocking, in a goroutine of its own, so that waiting for it can be
// interrupted and taken up again. It reads one piece ahead.
type intake struct {
	body    io.ReadCloser
	buffers *buffers
	patient atomic.Bool   // silence is no longer a fault: the answer has begun, and the two sides talk
	idle    time.Duration // the longest silence between two pieces; 0 is no bound

	full  chan portion  // from the goroutine
	over  chan struct{} // closed when the goroutine shall end
	begun bool
	held  []byte // what the last piece refers to
	ended bool

	mu          sync.Mutex
	interrupted bool
	interrupts  chan struct{} // closed by interrupt
}

// A portion is what one read gave.
type portion struct {
	buf []byte
	n   int
	err error
}

func (i *intake) begin(body io.ReadCloser, b *buffers, idle time.Duration) {
	i.body, i.buffers, i.idle = body, b, idle
	i.full, i.over = make(chan portion, 1), make(chan struct{})
	i.interrupts = make(chan struct{})
}

// end lets the goroutine go. Pieces are not valid any more.
func (i *intake) end() {
	close(i.over)
	if i.held != nil {
		i.buffers.put(i.held)
		i.held = nil
	}
}

func (i *intake) read() {
	for {
		p := portion{buf: i.buffers.get()}
		for p.n == 0 && p.err == nil {
			p.n, p.err = i.body.Read(p.buf)
		}
		select {
		case i.full <- p:
		case <-i.over:
			i.buffers.put(p.buf)
			return
		}
		if p.err != nil {
			return
		}
	}
}

// ready says whether next would return without waiting.
func (i *intake) ready() bool { return i.ended || len(i.full) > 0 }

// next waits for what is read next. At the end of the body the error is io.EOF, and data may come with it.
func (i *intake) next() ([]byte, error) {
	if !i.begun {
		i.begun = true
		go i.read()
	}
	if i.held != nil {
		i.buffers.put(i.held)
		i.held = nil
	}
	p, err := i.wait()
	if err != nil {
		return nil, err
	}
	i.held, i.ended = p.buf, p.err != nil
	return p.buf[:p.n], p.err
}

func (i *intake) wait() (portion, error) {
	i.mu.Lock()
	interrupts := i.interrupts
	i.mu.Unlock()
	var silence <-chan time.Time
	if i.idle > 0 {
		t := time.NewTimer(i.idle)
		defer t.Stop()
		silence = t.C
	}
	for {
		select {
		case p := <-i.full:
			return p, nil
		case <-interrupts:
			return portion{}, errInterrupted
		case <-silence:
			if !i.patient.Load() {
				return portion{}, os.ErrDeadlineExceeded
			}
			silence = nil
		}
	}
}

// interrupt ends a next under way, and later ones, until resume.
func (i *intake) interrupt() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.interrupted {
		i.interrupted = true
		close(i.interrupts)
	}
}

func (i *intake) resume() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.interrupted {
		i.interrupted = false
		i.interrupts = make(chan struct{})
	}
}
