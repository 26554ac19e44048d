package demo

import (
	"context"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/operate/api"
)

// watcher follows the node's event log.
type watcher struct {
	mu      sync.Mutex
	records []event.Record
}

func watch(ctx context.Context, client *api.Client) *watcher {
	w := &watcher{}
	go func() {
		_ = client.Events(ctx, api.EventQuery{Follow: true}, func(r event.Record) error { // ends with ctx
			w.mu.Lock()
			defer w.mu.Unlock()
			w.records = append(w.records, r)
			return nil
		})
	}()
	return w
}

func (w *watcher) last(n int) []event.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]event.Record(nil), w.records[max(0, len(w.records)-n):]...)
}

// first is the first record about a member, or about a service as a whole, after t that is of one of the kinds, and whether there is one.
func (w *watcher) first(sc *scene, t time.Time, kinds ...string) (event.Record, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.records {
		if r.Member != sc.member || sc.service != "" && r.Service != sc.service || r.Time.Before(t) {
			continue
		}
		for _, k := range kinds {
			if r.Kind == k {
				return r, true
			}
		}
	}
	return event.Record{}, false
}
