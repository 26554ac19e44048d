package telemetry

import (
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// Access is one line of the access log: a finished request or TCP session. Names come from the configuration; byte
// slices may refer to the caller's buffers, as Write copies them.
type Access struct {
	Time      time.Time // when the first byte came
	Listener  string
	Route     string
	Service   string
	Member    string         // the one whose answer the client got
	Client    netip.AddrPort // who asked; left out when it is not valid
	Method    []byte
	Host      []byte
	Path      []byte // with the query
	UserAgent []byte
	Referer   []byte
	Proto     string // HTTP/1.1, HTTP/2.0, TCP
	RequestID []byte
	Trace     Trace
	Status    int
	Took      time.Duration // from the first byte to the last of the answer
	Wait      time.Duration // of that, in queues and holding
	Upstream  time.Duration // of that, until the member's head arrived
	In, Out   int64         // bytes of body from and to the client
	Tries     int
	Note      string // why it ended as it did, where that is not plain: "timeout: first byte", "fallback", …
}

// AccessOptions configures an AccessLog.
type AccessOptions struct {
	Config  config.AccessLog
	Out     io.Writer // where lines go without a path; standard output when nil
	Queue   int       // lines that may wait to be written; 4096 when 0
	Metrics *Metrics  // counts lines written and dropped
	Log     *slog.Logger
}

// AccessLog writes JSON lines about requests, off the hot path. A nil *AccessLog wants nothing.
type AccessLog struct {
	o       AccessOptions
	cfg     atomic.Pointer[accessConfig]
	made    atomic.Int64   // entries there are, at most o.Queue
	free    chan *entry    // entries to be used again
	full    chan *entry    // entries to be written
	changed chan struct{}  // the file is to be opened again
	dropped *atomic.Uint64 // lines lost
	written *atomic.Uint64
}

// accessConfig is what Wants goes by.
type accessConfig struct {
	path  string
	full  bool
	below uint64 // sampled: a random number below this is a hit; 0 = off
}

// entry is one line on its way, with the bytes its slices refer to.
type entry struct {
	Access
	buf []byte
}

// NewAccessLog makes an AccessLog; lines are written while Run runs.
func NewAccessLog(o AccessOptions) *AccessLog {
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Queue <= 0 {
		o.Queue = 4096
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &AccessLog{
		o:       o,
		free:    make(chan *entry, o.Queue),
		full:    make(chan *entry, o.Queue),
		changed: make(chan struct{}, 1),
		dropped: new(atomic.Uint64),
		written: new(atomic.Uint64),
	}
	if o.Metrics != nil {
		a.dropped, a.written = &o.Metrics.node.accessDropped, &o.Metrics.node.accessWritten
	}
	a.Set(o.Config)
	return a
}

// Wants says whether a request with this status leaves a line. Ask once for each request: when sampled it is a
// matter of chance, except for 5xx, which always do.
func (a *AccessLog) Wants(status int) bool {
	if a == nil {
		return false
	}
	c := a.cfg.Load()
	if c.full {
		return true
	}
	return c.below > 0 && (status >= 500 || c.below == math.MaxUint64 || rand.Uint64() < c.below)
}

// Bounds of what a line keeps of a client's bytes.
const (
	maxPath  = 4096
	maxOther = 1024
	keepBuf  = 4096 // larger buffers are not kept for the next line
)

// Write queues a line. It never waits: when the queue is full the line is dropped and counted.
func (a *AccessLog) Write(line *Access) {
	if a == nil {
		return
	}
	e := a.take()
	if e == nil {
		a.dropped.Add(1)
		return
	}
	e.Access = *line
	e.buf = e.buf[:0]
	for _, f := range [...]struct {
		field *[]byte
		max   int
	}{
		{&e.Path, maxPath}, {&e.Method, maxOther}, {&e.Host, maxOther},
		{&e.UserAgent, maxOther}, {&e.Referer, maxOther}, {&e.RequestID, maxOther},
	} {
		e.own(f.field, f.max)
	}
	a.full <- e // has room for all entries there are
}

// own copies a field's bytes into the entry.
func (e *entry) own(field *[]byte, most int) {
	start := len(e.buf)
	b := *field
	e.buf = append(e.buf, b[:min(len(b), most)]...)
	*field = e.buf[start:len(e.buf):len(e.buf)]
}

// take gives an unused entry, or nil when all are on their way.
func (a *AccessLog) take() *entry {
	select {
	case e := <-a.free:
		return e
	default:
	}
	if a.made.Add(1) <= int64(a.o.Queue) {
		return &entry{buf: make([]byte, 0, 512)}
	}
	a.made.Add(-1)
	return nil
}

// give takes an entry back.
func (a *AccessLog) give(e *entry) {
	e.Access = Access{}
	if cap(e.buf) > keepBuf {
		e.buf = make([]byte, 0, 512)
	}
	a.free <- e
}

// Reopen opens the file again, so that whoever rotates it can move it away first.
func (a *AccessLog) Reopen() {
	if a == nil {
		return
	}
	select {
	case a.changed <- struct{}{}:
	default: // already told
	}
}

// Set applies another configuration from now on and opens the file again.
func (a *AccessLog) Set(cfg config.AccessLog) {
	if a == nil {
		return
	}
	c := &accessConfig{path: cfg.Path, full: cfg.Mode == "full"}
	if cfg.Mode == "sampled" {
		c.below = math.MaxUint64
		if share := float64(cfg.Sample) / 100; share < 1 {
			c.below = max(uint64(share*(1<<64)), 1) // never off: failures are always among them
		}
	}
	a.cfg.Store(c)
	a.Reopen()
}
