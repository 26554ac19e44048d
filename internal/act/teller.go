package act

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/backstay/backstay/internal/base/event"
)

// Kinds of the engines' records.
const (
	EventStarted  = "instance.started"
	EventEnded    = "instance.ended"
	EventPromoted = "instance.promoted"
	EventFenced   = "instance.fenced"
	EventCloned   = "instance.cloned"
	EventRewound  = "instance.rewound"
	EventRescued  = "instance.rescued"
	EventForced   = "instance.forced" // a stop needed force

	EventPruned     = "instance.rescue_pruned" // what was put aside long ago was removed
	EventRescueFull = "instance.rescue_full"   // more is put aside than wanted, and too young to be removed
)

// A Teller tells of one instance: records for people, and to the loop that a look is worth it.
type Teller struct {
	service, node string
	append        func(event.Record)
	log           *slog.Logger
	changed       chan struct{}
}

// NewTeller returns a teller; append may be nil.
func NewTeller(service, node string, append func(event.Record), log *slog.Logger) *Teller {
	return &Teller{service, node, append, log, make(chan struct{}, 1)}
}

// Changed has a value when something happened that is worth a look: the process ended, the stream was lost.
func (t *Teller) Changed() <-chan struct{} { return t.changed }

// Notify says that a look is worth it.
func (t *Teller) Notify() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// Record says what happened to the instance.
func (t *Teller) Record(kind, message, evidence string, fields map[string]any) {
	t.log.Info("event", "kind", kind, "message", message, "evidence", evidence)
	if t.append != nil {
		t.append(event.Record{Kind: kind, Service: t.service, Member: t.node, Node: t.node, Message: message, Evidence: evidence, Fields: fields})
	}
}

// Poll looks until ok, often: what engines wait for mostly takes milliseconds.
func Poll(ctx context.Context, ok func() (bool, error)) error {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Exists says whether there is a file; what cannot be looked at is taken to be there.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
