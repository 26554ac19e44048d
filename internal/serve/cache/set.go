package cache

import (
	"context"
	"sync"
)

// Set is the caches of a node by service. They live longer than any configuration.
type Set struct {
	mu      sync.Mutex
	caches  map[string]*member
	ctx     context.Context // of Run; nil before
	running sync.WaitGroup
}

type member struct {
	cache *Cache
	dir   string // that is being kept; empty where none is
	stop  context.CancelFunc
}

// NewSet makes an empty Set.
func NewSet() *Set { return &Set{caches: map[string]*member{}} }

// Get is the cache of a service, made on first use. It has its options from Apply.
func (s *Set) Get(service string) *Cache {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.caches[service]
	if m == nil {
		m = &member{cache: New(Options{})}
		s.caches[service] = m
	}
	return m.cache
}

// Apply puts these options in force and forgets the caches of all other services.
func (s *Set) Apply(all map[string]Options) {
	for service := range all {
		s.Get(service)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for service, m := range s.caches {
		o, ok := all[service]
		if !ok {
			m.end()
			delete(s.caches, service)
			continue
		}
		if o.Dir != m.dir {
			m.end()
		}
		m.cache.Update(o)
		m.dir = o.Dir
		s.begin(m)
	}
}

// Run keeps the files of the caches until ctx is done and what waited to be written is.
func (s *Set) Run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx = ctx
	for _, m := range s.caches {
		s.begin(m)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.ctx = nil
	for _, m := range s.caches {
		m.end()
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// begin keeps the files of a cache, where there are any and nobody does yet.
func (s *Set) begin(m *member) {
	if s.ctx == nil || m.stop != nil || m.dir == "" {
		return
	}
	ctx, stop := context.WithCancel(s.ctx)
	m.stop = stop
	s.running.Go(func() { _ = m.cache.Run(ctx) }) // it has no error: a disk that fails is logged
}

func (m *member) end() {
	if m.stop != nil {
		m.stop()
		m.stop = nil
	}
}

// Usage tells what the cache of each service holds.
func (s *Set) Usage() map[string]Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]Usage, len(s.caches))
	for service, m := range s.caches {
		all[service] = m.cache.Usage()
	}
	return all
}
