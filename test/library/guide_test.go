// Package library holds the code of docs/library.md, so that all of it is compiled, and most of it runs.
package library

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/backstay/backstay/resilience"
	"github.com/backstay/backstay/resilience/grpcx"
	"github.com/backstay/backstay/resilience/httpx"
	"github.com/backstay/backstay/resilience/otelx"
	"github.com/backstay/backstay/resilience/prom"
	"github.com/backstay/backstay/resilience/sqlx"
)

// Page stands for what an application fetches.
type Page struct{ Text string }

func fetch(context.Context) (Page, error) { return Page{"fresh"}, nil }

func newClient() (*http.Client, error) {
	breaker := resilience.NewBreaker(resilience.BreakerOptions{})
	transport, err := httpx.NewTransport(httpx.TransportOptions{
		Retry: resilience.RetryOptions{Attempts: 3, PerTry: time.Second},
		Gates: []resilience.Gate{breaker},
	})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: transport}, nil
}

func newHandler(next http.Handler) http.Handler {
	limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 100, Queue: 1000, Wait: time.Second})
	shed := resilience.NewShed(resilience.ShedOptions{Queue: limit})
	return httpx.Handler(next, httpx.HandlerOptions{
		Gates: []resilience.Gate{resilience.NewDeadline(resilience.DeadlineOptions{}), shed},
		Priority: func(r *http.Request) resilience.Priority {
			if r.URL.Path == "/checkout" {
				return resilience.Critical
			}
			return resilience.Normal.ForAt(r.Header.Get("User"), time.Now(), time.Hour)
		},
	})
}

func onward(ctx context.Context, client *http.Client, url string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(request)
}

func compose(ctx context.Context) (Page, error) {
	throttle := resilience.NewThrottle(resilience.ThrottleOptions{})
	deadline := resilience.NewDeadline(resilience.DeadlineOptions{})
	breaker := resilience.NewBreaker(resilience.BreakerOptions{FailureRate: 0.5, SlowRate: 0.8, Slow: time.Second})
	limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 50, Queue: 100, Wait: 100 * time.Millisecond})
	retry, err := resilience.NewRetry(resilience.RetryOptions{PerTry: 2 * time.Second, Total: 5 * time.Second})
	if err != nil {
		return Page{}, err
	}

	page, err := resilience.Do(ctx, retry, func(ctx context.Context) (Page, error) {
		return resilience.Guard(ctx, fetch, throttle, deadline, breaker, limit)
	})
	return page, err
}

func withFallback(ctx context.Context, pages *resilience.Stale[string, Page]) (Page, error) {
	cached := func(ctx context.Context) (Page, error) {
		page, _, err := pages.Get(ctx, "/", fetch)
		return page, err
	}
	page, which, err := resilience.FirstOf(ctx, cached, resilience.Static(Page{Text: "try again soon"}))
	if which > 0 {
		fmt.Println("degraded")
	}
	return page, err
}

func perTenant(ctx context.Context, tenant string) (Page, error) {
	tenants := resilience.NewBulkhead(resilience.BulkheadOptions{
		LimitOptions: resilience.LimitOptions{Concurrency: 10, Queue: 20, Wait: time.Second},
	})
	return resilience.Guard(resilience.WithKey(ctx, tenant), fetch, tenants)
}

func byCost(ctx context.Context, rows int) (Page, error) {
	limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 1000, Queue: 100, Weighted: true})
	return resilience.Guard(resilience.WithCost(ctx, rows/100), fetch, limit)
}

func doLess(ctx context.Context, shed *resilience.Shed) *resilience.Mode {
	mode := resilience.NewMode("recommendations off", resilience.ModeOptions{Open: 0.3, For: 2 * time.Second})
	go mode.Follow(ctx, func() float64 { return shed.Snapshot().Level })
	return mode
}

func overGRPC(target string, creds grpc.DialOption) (*grpc.ClientConn, error) {
	client, err := grpcx.NewClient(grpcx.ClientOptions{
		Idempotent: func(method string) bool { return method == "/shop.Catalogue/Get" },
		Gates:      []resilience.Gate{resilience.NewBreaker(resilience.BreakerOptions{})},
	})
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(target, append(client.DialOptions(), creds)...)
}

func serveGRPC(limit *resilience.Limit) *grpc.Server {
	options := grpcx.ServerOptions{
		Gates:         []resilience.Gate{resilience.NewShed(resilience.ShedOptions{Queue: limit})},
		TrustPriority: true, // only our own services can reach it
	}
	return grpc.NewServer(grpc.UnaryInterceptor(grpcx.UnaryServer(options)), grpc.StreamInterceptor(grpcx.StreamServer(options)))
}

func database(connector driver.Connector) (*sql.DB, error) {
	wrapped, err := sqlx.Wrap(connector, sqlx.Options{
		Gates:    []resilience.Gate{resilience.NewBreaker(resilience.BreakerOptions{})},
		Retry:    resilience.RetryOptions{Attempts: 5, Backoff: resilience.Backoff{Initial: 100 * time.Millisecond}},
		Timeout:  5 * time.Second,
		ReadOnly: sqlx.Selects,
	})
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(wrapped), nil
}

func watch(registry *prometheus.Registry) (*resilience.Breaker, error) {
	metrics := prom.New(prom.Options{})
	registry.MustRegister(metrics)
	observe := resilience.Observers(metrics.Observe, otelx.Observe)
	breaker := resilience.NewBreaker(resilience.BreakerOptions{OnChange: observe.Breaker("catalogue")})
	return breaker, metrics.Watch("catalogue", breaker)
}

// nowhere is a database that is never asked.
type nowhere struct{ driver.Connector }

func Example() {
	server := httptest.NewServer(newHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })))
	defer server.Close()
	client, err := newClient()
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	answer, err := onward(ctx, client, server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	fmt.Println(answer.Status)
	fmt.Println(compose(ctx))
	fmt.Println(withFallback(ctx, resilience.NewStale[string, Page](resilience.StaleOptions{Fresh: time.Minute, IfError: time.Hour})))
	fmt.Println(perTenant(ctx, "acme"))
	fmt.Println(byCost(ctx, 5000))
	breaker, err := watch(prometheus.NewRegistry())
	fmt.Println(breaker.State(), err)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	fmt.Println(doLess(ctx, resilience.NewShed(resilience.ShedOptions{})).Open())
	serveGRPC(resilience.NewLimit(resilience.LimitOptions{})).Stop()
	conn, err := overGRPC("127.0.0.1:1", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	db, err := database(nowhere{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	// Output:
	// 200 OK
	// {fresh} <nil>
	// {fresh} <nil>
	// {fresh} <nil>
	// {fresh} <nil>
	// closed <nil>
	// false
}
