package pool

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"

	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/resilience"
)

// pad keeps what is written often off the cache lines of its neighbours; two lines, as processors fetch them in pairs.
type pad [128]byte

// core is a member with all its state, which lives as long as its name and address are in the service.
type core struct {
	service       *Service
	name, address string
	key           string
	tag           uint64 // what its points on a ring are made from
	origin        atomic.Pointer[origin]
	metrics       atomic.Pointer[telemetry.Member] // nil: nothing is counted
	handle        atomic.Pointer[Member]
	breaker       atomic.Pointer[resilience.Breaker] // nil: off
	gone          atomic.Pointer[signal]
	kept          locker
	unsound       atomic.Bool // not up by its checks, for counting what is sent there in panic

	standing // under the service's mutex

	_ pad
	load
	_        pad
	recent   window
	calls    atomic.Uint64 // tries since it joined
	failures atomic.Uint64
	streak   atomic.Int64 // failures in a row
	share    atomic.Uint64
	_        pad
}

// standing is what decides whether a member is eligible, and the history that goes into it.
type standing struct {
	weight, priority int
	status           health.Status
	awaiting         bool  // joined a service at work: gets nothing before its first probe
	joined           int64 // when
	draining         bool
	drainSince       int64
	leaving          bool    // no longer in the configuration
	warmSince        int64   // slow start began; 0: at its full share
	warmNow          float64 // how far it is in it, as of the last view
	ejection         ejection
	history          history
	fit              bool // may be picked, as of the last view
	tierPanics       bool // checks are not believed in its tier, as of the last view
}

// origin is what a configuration may change without making it another member.
type origin struct{ zone, host string }

// signal is a channel that is closed once.
type signal struct {
	c      chan struct{}
	closed bool // under the service's mutex
}

func newCore(s *Service, e resolve.Endpoint) *core {
	sum := sha256.Sum256([]byte(s.name + "\x00" + e.Name))
	c := &core{
		service: s, name: e.Name, address: e.Address,
		key: base64.RawURLEncoding.EncodeToString(sum[:8]), tag: binary.BigEndian.Uint64(sum[8:]),
	}
	c.status.State = health.Unknown
	c.origin.Store(&origin{e.Zone, e.Host})
	c.handle.Store(&Member{core: c})
	c.gone.Store(&signal{c: make(chan struct{})})
	c.recent.clear()
	return c
}

// allow takes the permit of the member's breaker and gives the handle that knows it. Permits of one era are equal, so in the
// steady state the handle is there already.
func (c *core) allow() (*Member, error) {
	b := c.breaker.Load()
	var p resilience.Permit
	if b != nil {
		var err error
		if p, err = b.Allow(); err != nil {
			return nil, err
		}
	}
	if m := c.handle.Load(); m.permit == p {
		return m, nil
	}
	m := &Member{core: c, permit: p}
	c.handle.Store(m)
	return m, nil
}

// closed says whether the breaker lets everything through.
func (c *core) closed() bool {
	b := c.breaker.Load()
	return b == nil || b.State() == resilience.Closed
}

// ready says whether the breaker would admit a call.
func (c *core) ready() bool {
	b := c.breaker.Load()
	return b == nil || b.Ready()
}

// locker holds what the data plane keeps with a member.
type locker struct {
	held atomic.Pointer[io.Closer]

	mu      sync.Mutex
	removed bool
}

func (l *locker) attach(create func() io.Closer) io.Closer {
	if held := l.held.Load(); held != nil {
		return *held
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if held := l.held.Load(); held != nil {
		return *held
	}
	held := create()
	if l.removed {
		held.Close()
		return held
	}
	l.held.Store(&held)
	return held
}

// remove empties the slot; what it gives back must be closed without a lock held.
func (l *locker) remove() io.Closer {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removed = true
	if held := l.held.Swap(nil); held != nil {
		return *held
	}
	return nil
}

func (l *locker) revive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removed = false
}
