package resilience

import (
	"errors"
	"testing"
)

func TestReport(t *testing.T) {
	var told []Refusal
	limit := NewLimit(LimitOptions{Concurrency: 1})
	r := &Report{Gate: limit, Name: "catalogue", Hook: func(r Refusal) { told = append(told, r) }}
	if _, err := Guard(background, answer(1, nil), r); err != nil || len(told) != 0 || limit.Snapshot().InUse != 0 {
		t.Fatalf("%v, told %v, left %+v", err, told, limit.Snapshot())
	}
	if !limit.TryAcquire() {
		t.Fatal("no place is free")
	}
	ctx := WithAttempt(WithPriority(background, Critical), 2)
	_, err := Guard(ctx, answer(1, nil), r)
	if !errors.Is(err, ErrQueueFull) || len(told) != 1 || told[0] != (Refusal{"catalogue", ErrQueueFull, Critical, 2, ctx}) {
		t.Errorf("%v, told %+v", err, told)
	}
}
