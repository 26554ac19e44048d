package telemetry

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// TracerOptions configures a Tracer.
type TracerOptions struct {
	Config  *config.Tracing // nil: no spans; trace context is passed on as it came
	Node    string          // host.name of the spans
	Version string          // service.version of the spans
	Metrics *Metrics        // counts the spans exported and those that could not be
	Log     *slog.Logger
}

// Tracer continues or begins the trace of each request, and exports spans where it is configured to. A nil *Tracer
// passes trace context on and records nothing.
type Tracer struct {
	o        TracerOptions
	cfg      atomic.Pointer[config.Tracing] // nil: off
	exporter atomic.Pointer[exporter]       // nil: no spans are recorded
	changed  chan struct{}
}

// NewTracer makes a Tracer; spans are recorded while Run runs.
func NewTracer(o TracerOptions) *Tracer {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tracer{o: o, changed: make(chan struct{}, 1)}
	t.cfg.Store(o.Config)
	return t
}

// Set applies another configuration from now on; nil turns spans off.
func (t *Tracer) Set(cfg *config.Tracing) {
	if t == nil {
		return
	}
	t.cfg.Store(cfg)
	select {
	case t.changed <- struct{}{}:
	default: // already told
	}
}

// Run exports spans in batches until ctx ends, then sends what is left for at most five seconds. Without a collector
// configured it just waits.
func (t *Tracer) Run(ctx context.Context) error {
	for {
		var e *exporter
		if cfg := t.cfg.Load(); cfg != nil && cfg.OTLP != "" {
			var err error
			if e, err = newExporter(ctx, cfg, t.o); err != nil {
				t.o.Log.Error("no spans are exported", "error", err)
			}
		}
		old := t.exporter.Swap(e)
		old.stop(t.o.Log)
		select {
		case <-t.changed:
		case <-ctx.Done():
			t.exporter.Swap(nil).stop(t.o.Log)
			return nil
		}
	}
}

// Span is one request through this node, or one try of it on a member. It is a value: nothing is allocated for it
// while it is not recorded. The zero Span is none.
type Span struct {
	// Trace is what the next hop is told; where it IsZero, no traceparent is sent.
	Trace    Trace
	parent   SpanID
	remote   bool // the parent is a span of somebody else
	start    time.Time
	exporter *exporter // nil: not recorded
}

// Start begins the span of a request that came with this traceparent header (nil without one). A header that is
// malformed or comes from somebody who is not trusted is ignored. Without spans configured, or for a trace that its
// caller does not record, the header is passed on as it came; a request without one begins a trace of its own only
// where spans are configured.
func (t *Tracer) Start(traceparent []byte, trusted bool, now time.Time) Span {
	var in Trace
	if trusted && len(traceparent) > 0 {
		in, _ = ParseTraceparent(traceparent)
	}
	if t == nil {
		return Span{Trace: in}
	}
	e := t.exporter.Load()
	switch {
	case e == nil:
		return Span{Trace: in}
	case in.Sampled():
		return Span{Trace: in.Child(), parent: in.Span, remote: true, start: now, exporter: e}
	case !in.IsZero():
		return Span{Trace: in}
	case e.below != math.MaxUint64 && rand.Uint64() >= e.below:
		return Span{Trace: NewTrace(false)} // members hear that nobody records it
	}
	return Span{Trace: NewTrace(true), start: now, exporter: e}
}

// Try begins the span of one try on a member; its Trace goes to the member.
func (s *Span) Try(now time.Time) Span {
	if s.exporter == nil {
		return Span{Trace: s.Trace}
	}
	return Span{Trace: s.Trace.Child(), parent: s.Trace.Span, start: now, exporter: s.exporter}
}

// Recorded says whether End does anything: callers need not fill in a SpanEnd otherwise.
func (s *Span) Recorded() bool { return s.exporter != nil }

// SpanEnd is what a span says about its request, in terms of OpenTelemetry's semantic conventions for HTTP. Byte
// slices are copied.
type SpanEnd struct {
	Server    bool   // the request itself; otherwise a try
	Method    []byte // as it came
	Path      []byte // without the query, which may hold secrets
	Host      []byte // as the client named it
	UserAgent []byte
	Client    []byte // address of the client
	Scheme    string // http or https
	Proto     string // 1.1 or 2
	Listener  string
	Route     string
	Service   string
	Member    string // of a try: its member
	Address   string // of a try: where it went, host:port
	Status    int    // 0: no answer
	Tries     int    // of the request; of a try: its number, 1 is the first
	In, Out   int64  // bytes of body from and to the client
	Error     string // what went wrong, in one word of a bounded set; empty when nothing did
	RequestID []byte
}

// End records the span. It does nothing for a span that is not recorded.
func (s *Span) End(now time.Time, end *SpanEnd) {
	if s.exporter != nil {
		s.exporter.record(s, now, end)
	}
}
