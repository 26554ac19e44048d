package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A group starts parts in order and stops them in reverse. A part that ends by itself, with or without an error, stops
// the whole group: nothing of a node runs on without the rest.
type group struct {
	parts []part
}

type part struct {
	name string
	run  func(context.Context) error
}

// Add appends a part. Its run method returns soon after its context ends, and an error only when it failed.
func (g *group) Add(name string, run func(context.Context) error) {
	g.parts = append(g.parts, part{name, run})
}

// Run runs the parts until ctx ends or one of them does, and returns their errors joined, each with its part's name.
func (g *group) Run(ctx context.Context) error {
	ended, endOne := context.WithCancel(ctx)
	defer endOne()
	var mu sync.Mutex
	var errs []error
	type running struct {
		cancel context.CancelFunc
		done   chan struct{}
	}
	var started []running
	for _, p := range g.parts {
		pctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := running{cancel, make(chan struct{})}
		started = append(started, r)
		go func() {
			defer close(r.done)
			defer endOne()
			if err := p.run(pctx); err != nil && !errors.Is(err, context.Canceled) {
				mu.Lock()
				errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
				mu.Unlock()
			}
		}()
	}
	<-ended.Done()
	for i := len(started) - 1; i >= 0; i-- {
		started[i].cancel()
		<-started[i].done
	}
	return errors.Join(errs...)
}
