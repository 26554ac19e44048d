// Package otelx writes what the policies of package resilience do into OpenTelemetry traces: each event onto the span of the call
// that it happened to.
//
//	observe := resilience.Observer(otelx.Observe)
//	retry, err := resilience.NewRetry(resilience.RetryOptions{OnRetry: observe.Retry("catalogue")})
//
// Events are named resilience.call, resilience.refusal, resilience.retry, resilience.hedge and resilience.fallback; breakers and modes
// change apart from any call, and are not in traces. A call that is not being recorded costs one look.
package otelx

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/backstay/backstay/resilience"
)

// The attributes of events and of spans.
const (
	NameKey     = attribute.Key("resilience.name")
	ReasonKey   = attribute.Key("resilience.reason") // as resilience.Reason says
	AttemptKey  = attribute.Key("resilience.attempt")
	DelayKey    = attribute.Key("resilience.delay_ms")
	TookKey     = attribute.Key("resilience.took_ms")
	SourceKey   = attribute.Key("resilience.source")
	PriorityKey = attribute.Key("resilience.priority")
	DegradedKey = attribute.Key("resilience.degraded")
	ErrorKey    = attribute.Key("exception.message")
)

// Observe adds an event to the span of its call; it is a resilience.Observer.
func Observe(ctx context.Context, e resilience.Event) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	attributes := []attribute.KeyValue{NameKey.String(e.Name)}
	if e.Kind != resilience.EventHedge && e.Kind != resilience.EventFallback {
		attributes = append(attributes, ReasonKey.String(e.Reason()))
	}
	if e.Err != nil {
		attributes = append(attributes, ErrorKey.String(e.Err.Error()))
	}
	if e.Attempt > 0 {
		attributes = append(attributes, AttemptKey.Int(e.Attempt))
	}
	if e.Delay > 0 {
		attributes = append(attributes, DelayKey.Float64(e.Delay.Seconds()*1000))
	}
	if e.Took > 0 {
		attributes = append(attributes, TookKey.Float64(e.Took.Seconds()*1000))
	}
	if e.Number > 0 {
		attributes = append(attributes, SourceKey.Int(e.Number))
	}
	span.AddEvent("resilience."+e.Kind.String(), trace.WithAttributes(attributes...))
}

// Attributes are what policies know of a call, for its span: priority, and where there are such, which try it is and the
// degradation modes that are open.
func Attributes(ctx context.Context) []attribute.KeyValue {
	attributes := []attribute.KeyValue{PriorityKey.String(resilience.PriorityOf(ctx).String())}
	if n := resilience.AttemptOf(ctx); n > 1 {
		attributes = append(attributes, AttemptKey.Int(n))
	}
	if modes := resilience.Degraded(ctx); len(modes) > 0 {
		attributes = append(attributes, DegradedKey.StringSlice(modes))
	}
	return attributes
}
