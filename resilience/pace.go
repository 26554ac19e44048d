package resilience

import (
	"sync"
	"sync/atomic"
	"time"
)

// pace tells the bucket of a window for the price of a load: reading the clock would take longer than all else on the path of
// a call. While somebody asks, a timer moves it on, once a bucket; when nobody has for a bucket's length it sleeps, so that it
// needs no closing. It may lag by as much as the timer is late: it is for counting, and sums are taken by the clock.
type pace struct {
	tick  atomic.Int64 // the bucket now; asleep while nobody asks
	asked atomic.Bool  // since it moved
	_     [112]byte    // what follows changes; what precedes is read by every call

	clock  clock
	ticker ticker
	moves  func(tick) // told of each bucket that begins while it is awake, before any caller; nil: nobody cares
	mu     sync.Mutex // over what follows, and held while moves is told
	timer  *time.Timer
}

const asleep = -1

func newPace(c clock, window time.Duration) *pace {
	p := &pace{clock: c, ticker: newTicker(window)}
	p.tick.Store(asleep)
	return p
}

func (p *pace) now() tick {
	t := p.tick.Load()
	if t == asleep {
		return p.wake()
	}
	if !p.asked.Load() { // looked at first: a store would take the cache line from all others each time
		p.asked.Store(true)
	}
	return tick(t)
}

func (p *pace) wake() tick {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.tick.Load(); t != asleep {
		return tick(t)
	}
	return p.move()
}

// beat is the timer's.
func (p *pace) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked.Swap(false) {
		p.move()
	} else {
		p.tick.Store(asleep)
	}
}

// move goes on to the bucket of this moment. The caller holds the mutex.
func (p *pace) move() tick {
	now := p.clock.now()
	t := p.ticker.at(now)
	if p.moves != nil {
		p.moves(t)
	}
	p.tick.Store(int64(t))
	rest := p.ticker.width - now%p.ticker.width
	if p.timer == nil {
		p.timer = time.AfterFunc(rest, p.beat)
	} else {
		p.timer.Reset(rest)
	}
	return t
}
