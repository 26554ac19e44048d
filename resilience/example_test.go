package resilience_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/backstay/backstay/resilience"
)

// fetch stands for a call over the network.
func fetch(context.Context) (string, error) { return "a page", nil }

// broken stands for one that fails.
func broken(context.Context) (string, error) { return "", errors.New("connection refused") }

func Example() {
	breaker := resilience.NewBreaker(resilience.BreakerOptions{FailureRate: 0.5, SlowRate: 0.8, Slow: time.Second})
	limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 50, Queue: 100, Wait: 100 * time.Millisecond})
	retry, err := resilience.NewRetry(resilience.RetryOptions{Attempts: 3, PerTry: time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	page, err := resilience.Do(context.Background(), retry, func(ctx context.Context) (string, error) {
		return resilience.Guard(ctx, fetch, breaker, limit)
	})
	fmt.Println(page, err)
	// Output: a page <nil>
}

func ExampleBreaker() {
	breaker := resilience.NewBreaker(resilience.BreakerOptions{
		Consecutive: 2,
		OnChange: func(c resilience.BreakerChange) {
			fmt.Printf("%v → %v: %s\n", c.From, c.To, c.Cause)
		},
	})
	for range 3 {
		permit, err := breaker.Allow()
		if err != nil {
			fmt.Println(err)
			continue
		}
		begun := time.Now()
		_, err = broken(context.Background())
		permit.Done(resilience.Judge(err), time.Since(begun))
	}
	// Output:
	// closed → open: 2 failures in a row
	// circuit breaker is open: recent calls failed, try again later
}

func ExampleBackoff_Validate() {
	fmt.Println(resilience.Backoff{Initial: time.Second, Factor: 1, Jitter: resilience.NoJitter}.Validate())
	// Output: backoff: a fixed delay of 1s without jitter is refused: callers that failed together would all come back together, every 1s, and keep the other side from recovering: use FullJitter
}

func ExampleDo() {
	retry, err := resilience.NewRetry(resilience.RetryOptions{
		Backoff: resilience.Backoff{Initial: time.Millisecond},
		Budget:  resilience.NewBudget(resilience.BudgetOptions{Min: 10}), // shared by all that call the same thing
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	tries := 0
	page, err := resilience.Do(context.Background(), retry, func(ctx context.Context) (string, error) {
		if tries++; tries < 3 {
			return broken(ctx)
		}
		return fetch(ctx)
	})
	fmt.Println(page, err, "after", tries, "tries")

	_, err = resilience.Do(context.Background(), retry, broken)
	fmt.Println(err)
	// Output:
	// a page <nil> after 3 tries
	// gave up after 3 tries: connection refused
}

func ExampleBudget() {
	budget := resilience.NewBudget(resilience.BudgetOptions{Ratio: 0.2, Min: 3})
	for range 25 {
		budget.Begin()
	}
	retries := 0
	for budget.TryRetry() {
		retries++
	}
	fmt.Println(retries, "retries for 25 requests")
	// Output: 5 retries for 25 requests
}

func ExampleLimit() {
	limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 1})
	if err := limit.Acquire(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	defer limit.Release()
	fmt.Println(limit.Acquire(context.Background())) // somebody else
	// Output: too many calls at work and the queue is full: try again later
}

func ExampleRate() {
	rate := resilience.NewRate(resilience.RateOptions{PerSecond: 10, Burst: 2})
	fmt.Println(rate.TryTake(1), rate.TryTake(1), rate.TryTake(1))
	// Output: true true false
}

func ExampleShed() {
	limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 20, Queue: 200, Wait: time.Second})
	shed := resilience.NewShed(resilience.ShedOptions{Target: 5 * time.Millisecond, Queue: limit})

	ctx := resilience.WithPriority(context.Background(), resilience.Critical.For("client 17"))
	page, err := resilience.Guard(ctx, fetch, shed)
	fmt.Println(page, err)
	// Output: a page <nil>
}

func ExampleFirstOf() {
	page, which, err := resilience.FirstOf(context.Background(), broken, resilience.Static("a plain page"))
	fmt.Println(page, which, err)
	// Output: a plain page 1 <nil>
}

func ExampleRace() {
	hedge := resilience.NewHedge(resilience.HedgeOptions{Quantile: 0.95})
	page, err := resilience.Race(context.Background(), hedge, fetch, nil)
	fmt.Println(page, err)
	// Output: a page <nil>
}

func ExampleHold() {
	hold := resilience.NewHold(resilience.HoldOptions{For: 2 * time.Second, Waiters: 100})
	up := make(chan struct{})
	ready := func() bool {
		select {
		case <-up:
			return true
		default:
			return false
		}
	}
	go func() { // a member comes back
		close(up)
		hold.Wake()
	}()
	fmt.Println(hold.Wait(context.Background(), 0, ready))
	// Output: <nil>
}

func ExampleMode() {
	mode := resilience.NewMode("recommendations off", resilience.ModeOptions{Open: 0.8})
	mode.Force(true)
	if mode.Open() {
		fmt.Println("a page without recommendations")
	}
	// Output: a page without recommendations
}

func ExampleStale() {
	pages := resilience.NewStale[string, string](resilience.StaleOptions{Fresh: time.Minute, WhileRevalidate: time.Minute, IfError: time.Hour})
	get := func(fetch func(context.Context) (string, error)) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			page, _, err := pages.Get(ctx, "/", fetch)
			return page, err
		}
	}
	for _, fetch := range []func(context.Context) (string, error){broken, fetch, broken} {
		page, _, err := resilience.FirstOf(context.Background(), get(fetch), resilience.Static("a plain page"))
		fmt.Println(page, err)
	}
	// Output:
	// a plain page <nil>
	// a page <nil>
	// a page <nil>
}
