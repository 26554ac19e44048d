package demo

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// traffic sends requests at a steady, bounded rate and remembers how they went.
type traffic struct {
	url     string
	workers int
	rate    int  // requests per second
	shed    bool // being refused under overload is no error for it
	client  *http.Client
	wg      sync.WaitGroup

	mu      sync.Mutex
	current measure // since the last call of second
	total   measure
	errors  []string // the first few, for the verdict
}

func newTraffic(url string, workers, rate int) *traffic {
	return &traffic{
		url: url, workers: workers, rate: rate,
		client: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: workers * 4, DisableCompression: true}},
	}
}

// start sends until ctx ends. Each worker is due at fixed times, so that a slow answer is not a pause in the load: what
// it delayed is measured from when it was due.
func (t *traffic) start(ctx context.Context) {
	interval := time.Second * time.Duration(t.workers) / time.Duration(t.rate)
	for w := range t.workers {
		t.wg.Go(func() {
			due := time.Now().Add(interval * time.Duration(w) / time.Duration(t.workers))
			for sleepUntil(ctx, due) {
				problem, fell := t.get(ctx)
				t.record(ctx, due, problem, fell)
				due = due.Add(interval)
			}
		})
	}
}

func (t *traffic) wait() { t.wg.Wait(); t.client.CloseIdleConnections() }

// sheddable makes it traffic for which being refused under overload is no error.
func (t *traffic) sheddable() *traffic {
	t.shed = true
	return t
}

// refused is what get says of a request that was shed.
const refused = "shed"

// get asks once and says what went wrong, empty when nothing did, and whether a fallback answered.
func (t *traffic) get(ctx context.Context) (problem string, fell bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return err.Error(), false
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return err.Error(), false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err.Error(), false
	case t.shed && resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Backstay-Retry") == "no":
		return refused, false
	case resp.StatusCode != http.StatusOK:
		return resp.Status + ": " + string(body), false
	}
	return "", resp.Header.Get("Backstay-Fallback") != ""
}

func (t *traffic) record(ctx context.Context, due time.Time, problem string, fell bool) {
	if problem != "" && ctx.Err() != nil {
		return // the demonstration's own end cut it off
	}
	took := time.Since(due)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range []*measure{&t.current, &t.total} {
		m.add(took, problem != "" && problem != refused)
		if problem == refused {
			m.shed++
		}
		if fell {
			m.fallbacks++
		}
	}
	if problem != "" && problem != refused && len(t.errors) < 3 {
		t.errors = append(t.errors, problem)
	}
}

// second gives what happened since it was last called.
func (t *traffic) second() measure {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.current
	t.current = measure{}
	return m
}

// measure counts requests, errors and latencies. The zero value is empty.
type measure struct {
	requests, errors int
	shed, fallbacks  int // of the requests
	buckets          [latencyBuckets]int
}

// Latencies are kept in buckets that grow by a tenth, from 50 µs to over 100 s.
const latencyBuckets = 160

func bucketTop(i int) time.Duration {
	top := 50 * time.Microsecond
	for range i {
		top += top / 10
	}
	return top
}

func (m *measure) add(took time.Duration, failed bool) {
	m.requests++
	if failed {
		m.errors++
	}
	i, top := 0, 50*time.Microsecond
	for took > top && i < latencyBuckets-1 {
		top += top / 10
		i++
	}
	m.buckets[i]++
}

// quantile is the latency that the given share of requests stayed below.
func (m *measure) quantile(share float64) time.Duration {
	want, seen := int(share*float64(m.requests)), 0
	for i, n := range m.buckets {
		if seen += n; n > 0 && seen > want {
			return bucketTop(i)
		}
	}
	return 0
}
