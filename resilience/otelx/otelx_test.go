package otelx

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/backstay/backstay/resilience"
)

func TestObserve(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder))
	ctx, span := provider.Tracer("test").Start(t.Context(), "call")
	for _, e := range []resilience.Event{
		{Kind: resilience.EventCall, Name: "a", Took: 1500 * time.Microsecond},
		{Kind: resilience.EventRefusal, Name: "a", Err: resilience.ErrShed},
		{Kind: resilience.EventRetry, Name: "a", Err: errors.New("down"), Attempt: 2, Delay: time.Second},
		{Kind: resilience.EventHedge, Name: "a", Delay: time.Millisecond},
		{Kind: resilience.EventFallback, Name: "a", Number: 1},
	} {
		Observe(ctx, e)
	}
	ctx = resilience.WithDegraded(resilience.WithAttempt(resilience.WithPriority(ctx, resilience.Critical), 2), "images off")
	span.SetAttributes(Attributes(ctx)...)
	span.End()
	Observe(ctx, resilience.Event{}) // after its end
	want := []string{
		"resilience.call resilience.name=a resilience.reason=ok resilience.took_ms=1.5",
		"resilience.refusal resilience.name=a resilience.reason=shed exception.message=" + resilience.ErrShed.Error(),
		"resilience.retry resilience.name=a resilience.reason=failed exception.message=down resilience.attempt=2 resilience.delay_ms=1000",
		"resilience.hedge resilience.name=a resilience.delay_ms=1",
		"resilience.fallback resilience.name=a resilience.source=1",
	}
	ended := recorder.Ended()[0]
	for i, e := range ended.Events() {
		got := e.Name
		for _, a := range e.Attributes {
			got += fmt.Sprintf(" %s=%v", a.Key, a.Value.AsInterface())
		}
		if i >= len(want) || got != want[i] {
			t.Errorf("event %d is %s", i, got)
		}
	}
	got := ""
	for _, a := range ended.Attributes() {
		got += fmt.Sprintf("%s=%v ", a.Key, a.Value.AsInterface())
	}
	if len(ended.Events()) != len(want) || got != "resilience.priority=critical resilience.attempt=2 resilience.degraded=[images off] " {
		t.Errorf("%d events, attributes %s", len(ended.Events()), got)
	}
	if n := testing.AllocsPerRun(100, func() { Observe(t.Context(), resilience.Event{}) }); n != 0 {
		t.Errorf("a call that is not recorded allocates %v times", n)
	}
}

func Example() {
	recorder := tracetest.NewSpanRecorder() // stands for an exporter
	tracer := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)).Tracer("shop")
	observe := resilience.Observer(Observe)
	retry, err := resilience.NewRetry(resilience.RetryOptions{Attempts: 2, OnRetry: observe.Retry("catalogue")})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, span := tracer.Start(context.Background(), "show a page")
	_, _ = resilience.Do(ctx, retry, func(context.Context) (string, error) { return "", errors.New("connection refused") })
	span.End()
	for _, event := range recorder.Ended()[0].Events() {
		fmt.Println(event.Name, event.Attributes[0].Value.AsString(), event.Attributes[2].Value.AsString())
	}
	// Output: resilience.retry catalogue connection refused
}
