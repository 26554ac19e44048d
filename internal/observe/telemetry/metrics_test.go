package telemetry

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
)

// fill uses every handle once.
func fill(m *Metrics) {
	m.SetBuild("1.0", "go1.26", "par-1")
	m.SetReady(true)
	m.Reloaded(true, time.Unix(1000, 0))
	l := m.Listener("web")
	l.Opened()
	l.Opened()
	l.Closed()
	l.Refused(RefusedTLS)
	r := m.Route("web", "0", "shop")
	r.Done(200, 20*time.Millisecond, 10, 2000)
	r.Done(299, 20*time.Millisecond, 0, 0)
	r.Done(1234, 20*time.Millisecond, 0, 0)
	s := m.Service("shop")
	s.Retry(RetryReset)
	s.Count(Fallback)
	s.Sample(func() ServiceSample {
		return ServiceSample{InFlight: 3, Queued: 2, Held: 1, Members: 3, Ready: 2, Breaker: "half-open"}
	})
	b := m.Member("shop", "a")
	b.Done(ClassOK, 5*time.Millisecond)
	b.Done(ClassReset, time.Millisecond)
	b.Probed(true, time.Millisecond)
	b.Ejected()
	b.BreakerOpened()
	b.Sample(func() MemberSample {
		return MemberSample{InFlight: 1, Up: true, Breaker: "open", Latency: time.Millisecond, Share: 0.5}
	})
	c := m.Sessions("db", "pg")
	c.Opened()
	c.Opened()
	c.Done(EndedCut, time.Second, 5, 7)
}

func TestExposition(t *testing.T) {
	reg := prometheus.NewRegistry()
	fill(NewMetrics(reg))
	want := `
# HELP backstay_http_requests_total Finished HTTP requests by status code.
# TYPE backstay_http_requests_total counter
backstay_http_requests_total{code="200",listener="web",route="0",service="shop"} 1
backstay_http_requests_total{code="2xx",listener="web",route="0",service="shop"} 1
backstay_http_requests_total{code="other",listener="web",route="0",service="shop"} 1
# HELP backstay_http_sent_bytes_total Bytes of answers' bodies.
# TYPE backstay_http_sent_bytes_total counter
backstay_http_sent_bytes_total{listener="web",route="0",service="shop"} 2000
# HELP backstay_listener_active_connections Connections that are open.
# TYPE backstay_listener_active_connections gauge
backstay_listener_active_connections{listener="web"} 1
# HELP backstay_member_breaker_state 0 closed, 1 half-open, 2 open.
# TYPE backstay_member_breaker_state gauge
backstay_member_breaker_state{member="a",service="shop"} 2
# HELP backstay_member_up 1 while checks find the member good.
# TYPE backstay_member_up gauge
backstay_member_up{member="a",service="shop"} 1
# HELP backstay_service_breaker_state 0 closed, 1 half-open, 2 open.
# TYPE backstay_service_breaker_state gauge
backstay_service_breaker_state{service="shop"} 1
# HELP backstay_service_fallbacks_total Requests answered by the fallback.
# TYPE backstay_service_fallbacks_total counter
backstay_service_fallbacks_total{service="shop"} 1
# HELP backstay_tcp_active_sessions TCP sessions that are open.
# TYPE backstay_tcp_active_sessions gauge
backstay_tcp_active_sessions{listener="db",service="pg"} 1
`
	var names []string
	for line := range strings.Lines(want) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names = append(names, strings.Fields(name)[0])
		}
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "backstay_") {
			t.Errorf("promlint: %s: %s", p.Metric, p.Text)
		}
	}
}

func TestScrapeHasBothHistogramsAndTheRuntime(t *testing.T) {
	m := NewMetrics(nil)
	fill(m)
	srv := httptest.NewServer(m.Handler())
	t.Cleanup(srv.Close)

	req, _ := http.NewRequest(http.MethodGet, srv.URL, nil)
	req.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	families := map[string]*dto.MetricFamily{}
	for r := bufio.NewReader(resp.Body); ; {
		f := &dto.MetricFamily{}
		if err := protodelim.UnmarshalFrom(r, f); err != nil {
			break
		}
		families[f.GetName()] = f
	}
	f := families["backstay_http_request_duration_seconds"]
	if f == nil {
		t.Fatalf("no duration histogram among %d families", len(families))
	}
	h := f.Metric[0].GetHistogram()
	if len(h.Bucket) != len(classicBounds) || h.GetSchema() != schema || len(h.PositiveSpan) != 1 || h.GetSampleCount() != 3 {
		t.Errorf("not both classic and native: %v", h)
	}
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		if families[name] == nil {
			t.Errorf("no %s", name)
		}
	}
}

func TestHandlesAreIdempotentAndRemovable(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	fill(m)
	r, b := m.Route("web", "0", "shop"), m.Member("shop", "a")
	if m.Route("web", "0", "shop") != r || m.Member("shop", "a") != b {
		t.Error("asking twice gives two handles")
	}
	old := m.Member("shop", "a")
	old.Remove()
	fresh := m.Member("shop", "a")
	if fresh == old {
		t.Error("a removed handle came back")
	}
	old.Remove() // must not take the new one away
	if m.Member("shop", "a") != fresh {
		t.Error("removing a removed handle took its successor away")
	}
	old.Done(ClassOK, time.Second) // counts into nothing

	m.Retain(func(l Labels) bool { return l.Service == "pg" || l == Labels{Listener: "db"} })
	for name, want := range map[string]int{
		"backstay_member_requests_total": 0, "backstay_http_requests_total": 0, "backstay_listener_connections_total": 0,
		"backstay_service_held_total": 0, "backstay_tcp_active_sessions": 1,
	} {
		if n, err := testutil.GatherAndCount(reg, name); err != nil || n != want {
			t.Errorf("%s has %d series after Retain, want %d (%v)", name, n, want, err)
		}
	}
}

func TestNilHandlesCountNothing(t *testing.T) {
	var m *Metrics
	fill(m)
	m.Retain(nil)
	m.Service("x").Remove()
	m.Member("x", "x").Remove()
	if m.Listener("x").Active() != 0 {
		t.Error("a nil listener has connections")
	}
}

func TestCountingWhileScraping(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				m.Route("web", "0", "shop").Done(200, time.Millisecond, 1, 1)
				m.Member("shop", "a").Done(ClassOK, time.Millisecond)
			}
		})
	}
	for range 5 {
		if _, err := reg.Gather(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	r := m.Route("web", "0", "shop")
	if got := r.duration.write(&r.sum).GetSampleCount(); got != 8000 {
		t.Errorf("%d of 8000 counted", got)
	}
}

func TestCountingDoesNotAllocate(t *testing.T) {
	m := NewMetrics(nil)
	r, b, s, l := m.Route("web", "0", "shop"), m.Member("shop", "a"), m.Service("shop"), m.Listener("web")
	if n := testing.AllocsPerRun(1000, func() {
		l.Opened()
		s.Count(Held)
		s.Retry(RetryStatus)
		finish(r, b, time.Millisecond)
		l.Closed()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCodesAreBounded(t *testing.T) {
	seen := map[string]bool{}
	for status := -10; status < 2000; status++ {
		seen[codeNames[codeSlot(status)]] = true
	}
	if len(seen) != codeSlots || !seen["499"] || !seen["503"] || !seen["other"] || seen["599"] {
		t.Errorf("%d codes: %v", len(seen), seen)
	}
}
