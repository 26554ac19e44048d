package telemetry

import (
	"context"
	"log/slog"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// TracerOptions configures a Tracer.
type TracerOptions struct {
	Config  *config.Tracing // nil: no spans; trace context is passed on as it came
	Node    string          // host.name of the spans
	Version string          // service.version of the spans
	Metrics *Metrics        // counts the spans that were dropped
	Log     *slog.Logger
}

// Tracer continues or begins the trace of each request, and exports spans where it is configured to. A nil *Tracer
// passes trace context on and records nothing.
type Tracer struct {
}

// NewTracer makes a Tracer; spans are exported while Run runs.
func NewTracer(o TracerOptions) *Tracer { panic("not yet") }

// Run exports spans in batches until ctx ends, then sends what is left for at most five seconds. Without a collector
// configured it just waits.
func (t *Tracer) Run(ctx context.Context) error { panic("not yet") }

// Set applies another configuration from now on.
func (t *Tracer) Set(cfg *config.Tracing) { panic("not yet") }

// Span is one request through this node, or one try of it on a member. It is a value: nothing is allocated for it
// while it is not recorded. The zero Span is none.
type Span struct {
	// Trace is what the next hop is told; where it IsZero, no traceparent is sent.
	Trace  Trace
	parent SpanID
	start  time.Time
	tracer *Tracer // nil: not recorded
}

// Start begins the span of a request that came with this traceparent header (nil without one). A header that is
// malformed or comes from somebody who is not trusted is ignored. Without spans configured, or for a trace that its
// caller does not record, the header is passed on as it came; a request without one begins a trace of its own only
// where spans are configured.
func (t *Tracer) Start(traceparent []byte, trusted bool, now time.Time) Span { panic("not yet") }

// Try begins the span of one try on a member; its Trace goes to the member.
func (s *Span) Try(now time.Time) Span { panic("not yet") }

// Recorded says whether End does anything: callers need not fill in a SpanEnd otherwise.
func (s *Span) Recorded() bool { return s.tracer != nil }

// SpanEnd is what a span says about its request, in terms of OpenTelemetry's semantic conventions for HTTP. Byte
// slices are copied.
type SpanEnd struct {
	Server                    bool // the request itself; otherwise a try
	Method, Path, Query, Host []byte
	UserAgent                 []byte
	Client                    []byte // client.address
	Scheme, Proto             string // http or https; 1.1 or 2
	Listener, Route, Service  string
	Member, Address           string // of a try: its member and server.address with port
	Status                    int    // 0: no answer
	Tries                     int    // of the request; of a try: its number, 1 is the first
	In, Out                   int64  // bytes of body from and to the client
	Error                     string // what went wrong, in one word of a bounded set; empty when nothing did
	RequestID                 []byte
}

// End records the span. It does nothing for a span that is not recorded.
func (s *Span) End(now time.Time, e *SpanEnd) { panic("not yet") }
