package resolve

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/event"
)

const (
	minWait       = time.Second      // between two look-ups of a name
	maxWait       = 30 * time.Second // the same, however long the answer may be kept
	wholeLookUp   = 10 * time.Second
	maxConcurrent = 16
)

// found is how a look-up ended.
type found struct {
	name   *name
	answer answer
	err    error
}

// Run looks names up when their time has come, until ctx ends.
func (r *Resolver) Run(ctx context.Context) error {
	var lookUps sync.WaitGroup
	defer lookUps.Wait()
	results := make(chan found, maxConcurrent)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for running := 0; ; {
		for _, n := range r.due(maxConcurrent-running, timer) {
			running++
			lookUps.Go(func() {
				whole, cancel := context.WithTimeout(ctx, wholeLookUp)
				defer cancel()
				a, err := r.lookUp(whole, n.question)
				results <- found{n, a.tidy(), err}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.wake:
		case f := <-results:
			running--
			if ctx.Err() == nil {
				r.take(f)
			}
		}
	}
}

// due marks the names whose time has come as busy and returns them, at most room of them, and sets the timer to the next.
func (r *Resolver) due(room int, timer *time.Timer) []*name {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	timer.Stop()
	var ready []*name
	next := time.Time{}
	for _, n := range r.names {
		switch {
		case n.busy:
		case !n.due.After(now):
			ready = append(ready, n)
		case next.IsZero() || n.due.Before(next):
			next = n.due
		}
	}
	if !next.IsZero() {
		timer.Reset(next.Sub(now))
	}
	slices.SortFunc(ready, func(a, b *name) int { return a.due.Compare(b.due) })
	ready = ready[:min(room, len(ready))]
	for _, n := range ready {
		n.busy = true
	}
	return ready
}

// take puts a result in its place and tells what it changed.
func (r *Resolver) take(f found) {
	r.mu.Lock()
	n := f.name
	n.busy = false
	if r.names[n.question] != n { // nobody wants it any more
		r.mu.Unlock()
		return
	}
	was, hadProblem := n.answer, n.problem != ""
	if f.err != nil {
		n.failures++
		n.problem = f.err.Error()
		n.due = time.Now().Add(r.wait(minWait << min(n.failures-1, 5)))
	} else {
		n.failures, n.problem = 0, ""
		n.answer, n.known = f.answer, true
		n.due = time.Now().Add(r.wait(f.answer.ttl))
	}
	var records []event.Record
	changed := map[string][]Endpoint{}
	for _, service := range slices.Sorted(maps.Keys(r.services)) {
		s := r.services[service]
		if !s.uses(n.question) {
			continue
		}
		if r.refresh(s) {
			changed[service] = slices.Clone(s.endpoints)
		}
		if kind, message := n.news(was, hadProblem); kind != "" {
			records = append(records, event.Record{Kind: kind, Service: service, Message: message, Fields: map[string]any{"name": n.question.name}})
		}
	}
	r.mu.Unlock()
	r.tell(records, changed)
}

func (r *Resolver) tell(records []event.Record, changed map[string][]Endpoint) {
	for _, record := range records {
		r.o.Log.Debug("name looked up", "service", record.Service, "kind", record.Kind, "message", record.Message)
		if r.o.Append != nil {
			r.o.Append(record)
		}
	}
	if r.o.OnChange == nil {
		return
	}
	for _, service := range slices.Sorted(maps.Keys(changed)) {
		r.o.OnChange(service, changed[service])
	}
}

// wait draws the time to the next look-up: up to a fifth less than asked for, and within bounds.
func (r *Resolver) wait(d time.Duration) time.Duration {
	d = min(max(d, minWait), maxWait)
	return max(time.Duration(float64(d)*(1-r.rand()/5)), minWait)
}

func (s *service) uses(q question) bool {
	for _, m := range s.members {
		if asked, _, ok := parse(m.Address); ok && asked == q {
			return true
		}
	}
	return false
}

// news says what the last look-up changed, as an event has it: the first failure in a row, the end of failures, other addresses.
func (n *name) news(was answer, hadProblem bool) (kind, message string) {
	switch {
	case n.problem != "" && !hadProblem:
		return event.ResolveFailed, n.sentence()
	case n.problem != "":
		return "", ""
	case hadProblem:
		return event.ResolveRecovered, fmt.Sprintf("%s can be looked up again: %s.", n.question.name, n.answer)
	case len(was.records) > 0 && was.String() != n.answer.String():
		return event.ResolveChanged, fmt.Sprintf("%s stands for %s now; before for %s.", n.question.name, n.answer, was)
	}
	return "", ""
}

// String lists the addresses.
func (a answer) String() string {
	var s []string
	for _, r := range a.records {
		if r.port == 0 {
			s = append(s, r.addr.String())
		} else {
			s = append(s, fmt.Sprintf("%s port %d", r.addr, r.port))
		}
	}
	return strings.Join(s, ", ")
}
