package sim

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Class is one kind of clients. They do not wait for each other (open loop): a slow answer does not make them ask less.
type Class struct {
	Name    string
	Rate    func(at time.Duration) float64 // requests a second, that long after the start
	Timeout time.Duration                  // how long a client waits; 0 is for ever
	Call    func(context.Context, *Request) error
}

// Steady is a rate that does not change.
func Steady(perSecond float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return perSecond }
}

// Spike is a rate that is another one from a moment to another.
func Spike(usual, spike float64, from, to time.Duration) func(time.Duration) float64 {
	return func(at time.Duration) float64 {
		if at >= from && at < to {
			return spike
		}
		return usual
	}
}

// Request is one request of a client.
type Request struct {
	Class  string
	Number int
	At     time.Duration // when it came, after the start
	Took   time.Duration // until the client had an answer or left
	Err    error

	Degraded bool // answered by a fallback; set by the class's Call

	seed  uint64
	tries atomic.Int64
}

// Try is the randomness of the next try. Tries is how many there were.
func (r *Request) Try() *rand.Rand {
	return generator(r.seed, r.Class, r.Number<<8|int(r.tries.Add(1)))
}

// Event is something that happens at a moment after the start.
type Event struct {
	At time.Duration
	Do func()
}

// Run lets clients loose for some time while a script is played, waits until all have an answer or left, and returns all
// requests, by class and in the order in which they came. It must run inside a synctest bubble.
func Run(seed uint64, length time.Duration, classes []Class, script ...Event) map[string][]*Request {
	var clients, requests sync.WaitGroup
	all := make([][]*Request, len(classes))
	begun := time.Now()
	for i, c := range classes {
		clients.Go(func() { all[i] = c.run(seed, begun, length, &requests) })
	}
	for _, e := range script {
		clients.Go(func() {
			time.Sleep(e.At)
			e.Do()
		})
	}
	clients.Wait()
	requests.Wait()
	result := map[string][]*Request{}
	for i, c := range classes {
		result[c.Name] = all[i]
	}
	return result
}

// run makes requests in a Poisson process.
func (c Class) run(seed uint64, begun time.Time, length time.Duration, requests *sync.WaitGroup) (all []*Request) {
	arrivals := generator(seed, c.Name, 0)
	for {
		time.Sleep(time.Duration(arrivals.ExpFloat64() / c.Rate(time.Since(begun)) * float64(time.Second)))
		at := time.Since(begun)
		if at >= length {
			return all
		}
		r := &Request{Class: c.Name, Number: len(all) + 1, At: at, seed: seed}
		all = append(all, r)
		requests.Go(func() {
			ctx := context.Background()
			if c.Timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.Timeout)
				defer cancel()
			}
			r.Err = c.Call(ctx, r)
			r.Took = time.Since(begun) - at
		})
	}
}
