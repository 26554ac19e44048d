package httpproxy

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/resilience"
)

const fallbackChain = `
services:
  - name: web
    members: [{address: %q}]
    hold: 0s
    retry: {attempts: 2, initial: 1ms, max: 1ms}
    outlier: off
    breaker: off
    fallback: [{service: other}, {respond: {status: 203, body: degraded}}]
  - name: other
    members: [{address: %q}]
    hold: 0s
    retry: 1
    outlier: off
    breaker: off
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`

func answersStatus(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		http.Error(w, "bad", status)
	}
}

func TestFallbackChain(t *testing.T) {
	web := newWebServer(t, answersStatus(500))
	other := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, "other ", r.Method, string(b))
	})
	k := start(t, fallbackChain, web.address(), other.address())
	check := func(what, method string, status int, body, fallback string) {
		t.Helper()
		res, got := k.ask(method, "/")
		if res.StatusCode != status || got != body || res.Header.Get(FallbackHeader) != fallback {
			t.Errorf("%s: %d %q, fallback %q", what, res.StatusCode, got, res.Header.Get(FallbackHeader))
		}
	}
	check("answers 500", "GET", 200, "other GET", "service:other")
	check("may have changed something", "POST", 500, "bad\n", "")
	check("may have changed something", "PUT", 500, "bad\n", "")
	web.becomes(answersStatus(404))
	check("answers 404", "GET", 404, "bad\n", "")
	web.becomes(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	check("breaks off", "GET", 200, "other GET", "service:other")
	check("breaks off", "POST", 203, "degraded", "respond") // it may have been processed: nobody else gets it
	other.becomes(answersStatus(503))
	check("both fail", "GET", 203, "degraded", "respond")
	web.Close()
	other.becomes(other.first)
	check("is gone", "POST", 200, "other POST", "service:other")
	other.Close()
	check("both are gone", "GET", 203, "degraded", "respond")
}

// TestFallbackTakesBody: what a request carries reaches the stand-in, too.
func TestFallbackTakesBody(t *testing.T) {
	other := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, "got ", string(b))
	})
	k := start(t, fallbackChain, deadAddress(t), other.address())
	for range 3 {
		res, err := http.Post("http://"+k.addr+"/", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(b) != "got body" {
			t.Errorf("%d %q", res.StatusCode, b)
		}
	}
}

const shedding = `
services:
  - name: web
    members: [{address: %q}]
    limit: {concurrency: 2, queue: 50, wait: 1m}
    shed: on
listeners:
  - listen: 127.0.0.1:0
    forwarded: {trust: [127.0.0.1]}
    routes:
      - {match: /critical, service: web, priority: critical}
      - {match: /sheddable, service: web, priority: low}
      - {service: web}
`

// TestSheddingByPriority: twenty times as many clients as the service has room for; the critical one among them is answered. They ask again and
// again until enough was counted, so that it is overload on a machine of any speed.
func TestSheddingByPriority(t *testing.T) {
	var levels sync.Map
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		levels.Store(r.URL.Path, r.Header.Get(PriorityHeader))
		time.Sleep(10 * time.Millisecond)
	})
	k := start(t, shedding, o.address())
	var good, shed [2]atomic.Int32
	var all sync.WaitGroup
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
	defer client.CloseIdleConnections()
	enough := func() bool { return good[1].Load() >= 100 && shed[0].Load() >= 300 && good[0].Load() >= 50 }
	for i := range 41 {
		class, path := 0, "/sheddable"
		if i == 0 {
			class, path = 1, "/critical"
		}
		all.Go(func() {
			for by := time.Now().Add(patience); !enough() && time.Now().Before(by); time.Sleep(2 * time.Millisecond) {
				res, err := client.Get("http://" + k.addr + path)
				if err != nil {
					t.Error(err)
					return
				}
				_ = res.Body.Close()
				switch {
				case res.StatusCode == 200:
					good[class].Add(1)
				case res.Header.Get("Retry-After") == "" || res.Header.Get(RetryHeader) != "no":
					t.Errorf("%d without a word about trying again: %v", res.StatusCode, res.Header)
				default:
					shed[class].Add(1)
				}
			}
		})
	}
	all.Wait()
	t.Logf("critical: %d good, %d shed; sheddable: %d good, %d shed", good[1].Load(), shed[1].Load(), good[0].Load(), shed[0].Load())
	if !enough() {
		t.Error("too few of one kind")
	}
	if n := shed[1].Load(); n > good[1].Load()/10 {
		t.Errorf("%d critical requests were shed", n)
	}
	if p, _ := levels.Load("/critical"); !strings.HasPrefix(fmt.Sprint(p), "2.") {
		t.Errorf("the member was told priority %v", p)
	}
	if st := k.pool("web").Status(); st.Shed == nil || st.Shed.Refused == 0 || st.Limit == nil || st.Limit.Concurrency != 2 {
		t.Errorf("status: %+v %+v", st.Shed, st.Limit)
	}
}

func TestPolicyHeaders(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    timeout: {total: 5m}
listeners:
  - listen: 127.0.0.1:0
    forwarded: {trust: [%s]}
    routes: [{match: /high, service: web, priority: high}, {service: web}]
`
	var got http.Header
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) { got = r.Header })
	for _, tt := range []struct {
		trusted        bool
		path           string
		fields         []string
		priority       string // a prefix
		most           int    // of the timeout
		attempt, modes string
	}{
		{true, "/", nil, "", 300000, "", ""},
		{true, "/high", nil, "2.", 300000, "", ""},
		{true, "/high", []string{PriorityHeader, "0.17", AttemptHeader, "3"}, "0.17", 300000, "3", ""},
		{true, "/", []string{PriorityHeader, "critical+", TimeoutHeader, "120000", DegradedHeader, "a"}, "3.", 120000, "", "a"},
		{true, "/", []string{PriorityHeader, "9.1", TimeoutHeader, "never", AttemptHeader, "-1"}, "", 300000, "", ""},
		{false, "/high", []string{PriorityHeader, "3.1", TimeoutHeader, "120000", AttemptHeader, "2", DegradedHeader, "a"}, "2.", 300000, "2", ""},
	} {
		trust := "192.0.2.1"
		if tt.trusted {
			trust = "127.0.0.1"
		}
		k := start(t, yaml, o.address(), trust)
		began := time.Now()
		if res, _ := k.ask("GET", tt.path, tt.fields...); res.StatusCode != 200 {
			t.Fatalf("%+v: %d", tt, res.StatusCode)
		}
		spent := int(time.Since(began).Milliseconds()) + 1
		ms, _ := strconv.Atoi(got.Get(TimeoutHeader))
		if p := got.Get(PriorityHeader); !strings.HasPrefix(p, tt.priority) || p != "" && tt.priority == "" || ms > tt.most || ms < tt.most-spent ||
			got.Get(AttemptHeader) != tt.attempt || got.Get(DegradedHeader) != tt.modes {
			t.Errorf("%+v: priority %q, %d ms, attempt %q, modes %q", tt, p, ms, got.Get(AttemptHeader), got.Get(DegradedHeader))
		}
	}
}

func TestTooLateAtTheDoor(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
listeners:
  - listen: 127.0.0.1:0
    forwarded: {trust: [127.0.0.1]}
    routes: [{service: web}]
`
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) { time.Sleep(20 * time.Millisecond) })
	k := start(t, yaml, o.address())
	if res, _ := k.ask("GET", "/", TimeoutHeader, "0"); res.StatusCode != 504 || o.asked.Load() != 0 {
		t.Errorf("no time at all: %d, asked %d times", res.StatusCode, o.asked.Load())
	}
	for range 25 {
		k.ask("GET", "/", TimeoutHeader, "60000")
	}
	asked := o.asked.Load()
	time.Sleep(350 * time.Millisecond) // the quantile is counted anew so often
	k.ask("GET", "/", TimeoutHeader, "60000")
	if res, _ := k.ask("GET", "/", TimeoutHeader, "5"); res.StatusCode != 504 || o.asked.Load() != asked+1 {
		t.Errorf("5 ms for what takes 20: %d, asked %d times", res.StatusCode, o.asked.Load()-asked)
	}
}

// TestRetriesOfLayers: who was asked for the second time does not try again, and who gave up says so.
func TestRetriesOfLayers(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    outlier: off
    breaker: off
    retry: {attempts: 3, initial: 1ms, max: 1ms}
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`
	o := newWebServer(t, answersStatus(503))
	k := start(t, yaml, o.address())
	for _, tt := range []struct {
		what   string
		fields []string
		asked  int64
		final  string
	}{
		{"first try", nil, 3, "no"},
		{"second try of somebody in front", []string{AttemptHeader, "2"}, 1, "no"},
	} {
		before := int64(o.asked.Load())
		res, _ := k.ask("GET", "/", tt.fields...)
		if n := int64(o.asked.Load()) - before; n != tt.asked || res.Header.Get(RetryHeader) != tt.final {
			t.Errorf("%s: asked %d times, %s: %q", tt.what, n, RetryHeader, res.Header.Get(RetryHeader))
		}
	}
	o.becomes(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(RetryHeader, "no")
		w.WriteHeader(503)
	})
	before := o.asked.Load()
	if res, _ := k.ask("GET", "/"); o.asked.Load()-before != 1 || res.Header.Get(RetryHeader) != "no" {
		t.Errorf("a member that gave up was asked %d times", o.asked.Load()-before)
	}
}

func TestRates(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    rate: {requests: 1/h, burst: 4}
listeners:
  - listen: 127.0.0.1:0
    routes:
      - {match: /key, service: web, rate: {requests: 1/h, burst: 1, per: header, header: X-Key}}
      - {match: /fixed, respond: 200, rate: {requests: 1/h, burst: 1, per: client}}
      - {service: web}
`
	o := newWebServer(t, func(http.ResponseWriter, *http.Request) {})
	k := start(t, yaml, o.address())
	for _, tt := range []struct {
		path, key string
		status    int
	}{
		{"/key", "a", 200}, {"/key", "a", 429}, {"/key", "b", 200}, {"/key", "", 200},
		{"/fixed", "", 200}, {"/fixed", "", 429},
		{"/", "", 200}, {"/", "", 429}, {"/key", "c", 429},
	} {
		res, _ := k.ask("GET", tt.path, "X-Key", tt.key)
		if res.StatusCode != tt.status || tt.status == 429 && res.Header.Get("Retry-After") == "" {
			t.Errorf("%+v: %d", tt, res.StatusCode)
		}
	}
}

func TestModeSparesService(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
listeners:
  - listen: 127.0.0.1:0
    routes: [{match: /spared, service: web}, {service: web}]
modes:
  - {name: web-off, service: web, respond: {status: 203, body: spared}}
  - read-only
`
	var told atomic.Value
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) { told.Store(r.Header.Get(DegradedHeader)) })
	k := start(t, yaml, o.address())
	s := k.picture.Load()
	if err := s.Modes.Turn("read-only", "on"); err != nil {
		t.Fatal(err)
	}
	if k.ask("GET", "/"); told.Load() != "read-only" {
		t.Errorf("the member was told %q", told.Load())
	}
	_ = s.Modes.Turn("web-off", "on")
	if res, body := k.ask("GET", "/"); res.StatusCode != 203 || body != "spared" || o.asked.Load() != 1 {
		t.Errorf("%d %q, asked %d times", res.StatusCode, body, o.asked.Load())
	}
	_ = s.Modes.Turn("web-off", "auto")
	_ = s.Modes.Turn("read-only", "off")
	if res, _ := k.ask("GET", "/"); res.StatusCode != 200 || told.Load() != "" {
		t.Errorf("%d, the member was told %q", res.StatusCode, told.Load())
	}
}

func TestPriorityText(t *testing.T) {
	for text, want := range map[string]resilience.Priority{
		"critical": resilience.Critical, "low": resilience.Sheddable, "2.17": resilience.Critical + 17, "1": resilience.Normal, "3.127": resilience.CriticalPlus + 127,
	} {
		if p, _, ok := parsePriority([]byte(text)); !ok || p != want {
			t.Errorf("%s is %d, %v", text, p, ok)
		}
	}
	for _, text := range []string{"", "4", "1.128", "1.", ".1", "urgent", "-1", "1.x", "1.1.1"} {
		if p, _, ok := parsePriority([]byte(text)); ok {
			t.Errorf("%s is %d", text, p)
		}
	}
	if (&config.Service{}).Sheds() {
		t.Error("without a limit nothing can be shed")
	}
}

// TestAdaptiveLimitFindsWorkers: from twenty, the limit comes down to near what a member with four workers does at once, as its
// latency says through the proxy, and what is critical is answered meanwhile. (How well it does in time is simulated: test/sim.)
func TestAdaptiveLimitFindsWorkers(t *testing.T) {
	const yaml = `
services:
  - name: web
    members: [{address: %q}]
    limit: adaptive
listeners:
  - listen: 127.0.0.1:0
    routes: [{match: /critical, service: web, priority: critical}, {service: web}]
`
	workers := make(chan struct{}, 4)
	o := newWebServer(t, func(w http.ResponseWriter, r *http.Request) {
		workers <- struct{}{}
		time.Sleep(10 * time.Millisecond)
		<-workers
	})
	k := start(t, yaml, o.address())
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
	defer client.CloseIdleConnections()
	get := func(path string) int {
		res, err := client.Get("http://" + k.addr + path)
		if err != nil {
			t.Error(err)
			return 0
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	for range 50 { // what it takes without a queue
		get("/")
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	var asked, good atomic.Int32
	for i := range 60 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if i > 0 {
					if get("/") != 200 {
						time.Sleep(20 * time.Millisecond)
					}
					continue
				}
				asked.Add(1)
				if get("/critical") == 200 {
					good.Add(1)
				}
			}
		})
	}
	limit := 0
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if limit = k.pool("web").Status().Limit.Concurrency; limit <= 8 && asked.Load() > 20 {
			break
		}
	}
	close(stop)
	all.Wait()
	if limit > 8 {
		t.Errorf("the limit is at %d for a member that does 4 at once", limit)
	}
	if n := asked.Load(); good.Load()*100 < n*95 {
		t.Errorf("%d of %d critical requests were answered", good.Load(), n)
	}
}
