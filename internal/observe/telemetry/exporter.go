package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/backstay/backstay/internal/base/config"
)

const (
	spanQueue    = 4096 // spans that may wait; more are dropped
	spanBatch    = 512
	spanInterval = 2 * time.Second
	spanTimeout  = 5 * time.Second // for one batch, and for the last ones at the end
)

// exporter hands spans to one collector.
type exporter struct {
	below    uint64 // a request begins a recorded trace when a random number is below this
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// newExporter sets the way to the collector up; the collector itself need not be there.
func newExporter(ctx context.Context, cfg *config.Tracing, o TracerOptions) (*exporter, error) {
	target, err := url.Parse(cfg.OTLP)
	if err != nil {
		return nil, fmt.Errorf("tracing.otlp: %w", err)
	}
	if target.Path == "" || target.Path == "/" {
		target.Path = "/v1/traces"
	}
	headers := make(map[string]string, len(cfg.Headers))
	for name, secret := range cfg.Headers {
		if headers[name], err = secret.Reveal(); err != nil {
			return nil, fmt.Errorf("tracing.headers.%s: %w", name, err)
		}
	}
	client, err := otlptracehttp.New(context.WithoutCancel(ctx),
		otlptracehttp.WithEndpointURL(target.String()),
		otlptracehttp.WithHeaders(headers),
		otlptracehttp.WithTimeout(spanTimeout),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: 500 * time.Millisecond, MaxInterval: 2 * time.Second, MaxElapsedTime: spanTimeout,
		}))
	if err != nil {
		return nil, fmt.Errorf("tracing.otlp %s: %w", cfg.OTLP, err)
	}
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(&countingExporter{SpanExporter: client, log: o.Log, metrics: o.Metrics},
			sdk.WithMaxQueueSize(spanQueue), sdk.WithMaxExportBatchSize(spanBatch),
			sdk.WithBatchTimeout(spanInterval), sdk.WithExportTimeout(spanTimeout)),
		sdk.WithResource(resource.NewSchemaless(
			semconv.ServiceName("backstay"), semconv.ServiceVersion(o.Version), semconv.HostName(o.Node))),
		sdk.WithSampler(sdk.AlwaysSample()), // Start has decided
		sdk.WithIDGenerator(givenIDs{}),
	)
	e := &exporter{provider: provider, tracer: provider.Tracer("github.com/backstay/backstay"), below: math.MaxUint64}
	if share := cfg.Sample.Of(); share < 1 {
		e.below = uint64(share * (1 << 64))
	}
	return e, nil
}

// stop sends what is left and lets go of the collector.
func (e *exporter) stop(log *slog.Logger) {
	if e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), spanTimeout)
	defer cancel()
	if err := e.provider.Shutdown(ctx); err != nil {
		log.Warn("spans lost at the end", "error", err)
	}
}

// record makes a span of the OpenTelemetry SDK with the ids that the next hop was told.
func (e *exporter) record(s *Span, now time.Time, end *SpanEnd) {
	ctx := context.WithValue(context.Background(), idsKey{}, s.Trace)
	if s.parent != (SpanID{}) {
		ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID(s.Trace.ID), SpanID: trace.SpanID(s.parent), TraceFlags: trace.FlagsSampled, Remote: s.remote,
		}))
	}
	kind := trace.SpanKindClient
	if end.Server {
		kind = trace.SpanKindServer
	}
	_, span := e.tracer.Start(ctx, end.name(), trace.WithSpanKind(kind), trace.WithTimestamp(s.start),
		trace.WithAttributes(end.attributes()...))
	if code, text := end.verdict(); code != 0 {
		span.SetStatus(code, text)
	}
	span.End(trace.WithTimestamp(now))
}

// givenIDs gives the SDK the ids that Start and Try made.
type givenIDs struct{}

type idsKey struct{}

// NewIDs implements sdk.IDGenerator.
func (givenIDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	t, _ := ctx.Value(idsKey{}).(Trace)
	return trace.TraceID(t.ID), trace.SpanID(t.Span)
}

// NewSpanID implements sdk.IDGenerator.
func (givenIDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	t, _ := ctx.Value(idsKey{}).(Trace)
	return trace.SpanID(t.Span)
}

// countingExporter counts what arrives and what does not, and says the first time that it does not, not every time.
type countingExporter struct {
	sdk.SpanExporter
	log     *slog.Logger
	metrics *Metrics
	failing atomic.Bool
}

// ExportSpans implements sdk.SpanExporter. It reports no error, as the SDK would print it past our log.
func (c *countingExporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		c.failing.Store(false)
		if c.metrics != nil {
			c.metrics.node.spansExported.Add(uint64(len(spans)))
		}
		return nil
	}
	if c.metrics != nil {
		c.metrics.node.spansFailed.Add(uint64(len(spans)))
	}
	if !c.failing.Swap(true) {
		c.log.Warn("the collector takes no spans; they are dropped until it does", "error", err)
	}
	return nil
}
