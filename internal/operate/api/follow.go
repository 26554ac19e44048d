package api

import (
	"context"

	"github.com/backstay/backstay/internal/base/event"
)

// FollowLog is System.Events for an event.Log.
func FollowLog(ctx context.Context, log *event.Log, q EventQuery, emit func(event.Record) error) error {
	wanted := func(r event.Record) bool {
		return q.Service == "" || r.Service == q.Service || r.Kind == event.Gap
	}
	last := q.Since
	var past []event.Record
	for _, r := range log.Since(q.Since, 0) {
		last = r.Seq
		if wanted(r) {
			past = append(past, r)
		}
	}
	if q.Last > 0 && len(past) > q.Last {
		past = past[len(past)-q.Last:]
	}
	for _, r := range past {
		if err := emit(r); err != nil {
			return err
		}
	}
	if !q.Follow {
		return nil
	}
	follow, cancel := context.WithCancel(ctx)
	defer cancel()
	for r := range log.Follow(follow, last) {
		if !wanted(r) {
			continue
		}
		if err := emit(r); err != nil {
			return err
		}
	}
	return ctx.Err()
}
