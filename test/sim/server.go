package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/backstay/backstay/resilience"
)

// What a server answers when it does not do its work.
var (
	ErrFailed = errors.New("internal error")
	ErrDown   = fmt.Errorf("connection refused: %w", resilience.ErrNotSent)
)

// ServerOptions is what a server is like.
type ServerOptions struct {
	Workers int          // requests at work at once; more wait, first in, first out, in a queue without a bound
	Service Distribution // how long a worker takes
	Network Distribution // one way between client and server; none where nil
}

// Server is a service as most are: it works on whatever is in its queue, also when the client has left long ago.
type Server struct {
	options ServerOptions
	begun   time.Time

	mu       sync.Mutex
	idle     int
	queue    []*job
	slow     float64 // factor of service times
	failing  float64 // share of requests answered with ErrFailed, at once
	down     bool
	received []time.Duration // when each try arrived
}

type job struct {
	takes time.Duration
	done  chan struct{}
}

// NewServer makes a server that is well.
func NewServer(o ServerOptions) *Server {
	if o.Network == nil {
		o.Network = Constant(0)
	}
	return &Server{options: o, begun: time.Now(), idle: o.Workers, slow: 1}
}

// Slow makes service times so many times as long; 1 is normal.
func (s *Server) Slow(factor float64) { s.change(func() { s.slow = factor }) }

// Fail makes this share of requests fail at once.
func (s *Server) Fail(share float64) { s.change(func() { s.failing = share }) }

// Down makes it refuse connections.
func (s *Server) Down(down bool) { s.change(func() { s.down = down }) }

func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Received is when each try arrived, refused ones included.
func (s *Server) Received() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received
}

// Serve is one try of a request, as the client sees it. It returns when the context ends; the server goes on.
func (s *Server) Serve(ctx context.Context, r *Request) error {
	random := r.Try()
	if err := Sleep(ctx, s.options.Network(random)); err != nil {
		return err
	}
	j, err := s.arrive(random)
	if err == nil {
		select {
		case <-j.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if late := Sleep(ctx, s.options.Network(random)); late != nil {
		return late
	}
	return err
}

func (s *Server) arrive(random *rand.Rand) (*job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, time.Since(s.begun))
	switch {
	case s.down:
		return nil, ErrDown
	case random.Float64() < s.failing:
		return nil, ErrFailed
	}
	j := &job{takes: s.options.Service(random), done: make(chan struct{})}
	if s.idle == 0 {
		s.queue = append(s.queue, j)
	} else {
		s.idle--
		s.work(j)
	}
	return j, nil
}

// work gives a job to a worker. The caller holds the mutex.
func (s *Server) work(j *job) {
	time.AfterFunc(time.Duration(float64(j.takes)*s.slow), func() {
		close(j.done)
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.queue) == 0 {
			s.idle++
			return
		}
		next := s.queue[0]
		s.queue = s.queue[1:]
		s.work(next)
	})
}

// Sleep waits for d, or returns the context's cause when it ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
