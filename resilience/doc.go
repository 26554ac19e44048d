// Package resilience keeps calls useful while what they depend on is slow, failing or overloaded.
//
// Each policy is a small type of its own and usable alone. There are two kinds. A [Gate] admits or refuses a call and learns how it
// ended; [Guard] makes a call behind any number of them, in any order:
//
//	Breaker    stops calls to what keeps failing
//	Limit      bounds the calls at work; more wait, first in, first out
//	Adaptive   a limit that finds its number by itself
//	Bulkhead   a limit for each key: a dependency, a tenant
//	Rate       bounds calls per second
//	Shared     a rate that many nodes have together, by leased shares
//	Deadline   refuses what cannot finish in time
//	Throttle   holds calls back from what refuses them
//	Shed       under overload, refuses the least important first
//	Report     tells of what another gate refuses
//
// The other kind makes the call, perhaps more than once or not at all:
//
//	Do         tries again what failed (Retry, with Backoff and Budget)
//	Race       makes a slow call again (Hedge)
//	Within     bounds its time
//	FirstOf    falls back on the next best answer
//	Stale.Get  gives a kept one, also when a new one cannot be had
//
// Plain functions around functions, so that the order is what is written:
//
//	page, err := resilience.Do(ctx, retry, func(ctx context.Context) (Page, error) {
//		return resilience.Guard(ctx, fetch, breaker, limit) // each try passes the gates anew
//	})
//
// [Hold] lets calls wait while nothing can serve them; [Mode] is a switch for doing less. What policies have to know of a call
// is in its context: [WithPriority], [WithKey], [WithCost], [WithDegraded], [Unsafe]; [Tokens] signs priorities for those who are
// not to be trusted. An [Observer] is told what policies do.
//
// # Begin here
//
// A service that calls others needs a breaker and a retry around each of them, and one that is called needs a limit with a
// shedder. Packages beside this one have both ready:
//
//	httpx   http.RoundTripper and http.Handler
//	grpcx   client and server interceptors
//	sqlx    a connector for database/sql
//	prom    metrics for Prometheus
//	otelx   events on OpenTelemetry spans
//
// Zero options are meant to be right for most; docs/library.md in the repository says which policy is for which failure, in which
// order gates belong, and what to watch.
//
// All are safe for concurrent use and bounded in memory, and start no goroutine per call. Gates, and what else lies on the
// path of a call that goes well, allocate nothing in steady state, but for contexts with a deadline and an armed hedge. Time
// comes from the time package only, so that testing/synctest drives it: make a policy inside the bubble that uses it.
//
// An error with which a policy refuses a call wraps [ErrRefused]: the call was not made. An error that has a method RetryAfter()
// time.Duration tells retries and breakers how long to stay away.
//
// The package imports the standard library only, as do httpx and sqlx.
package resilience
