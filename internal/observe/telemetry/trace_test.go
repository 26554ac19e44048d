package telemetry

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	pb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/backstay/backstay/internal/base/config"
)

const sampledParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestParseTraceparent(t *testing.T) {
	good := map[string]string{
		sampledParent: sampledParent,
		strings.Replace(sampledParent, "-01", "-00", 1): strings.Replace(sampledParent, "-01", "-00", 1),
		strings.Replace(sampledParent, "-01", "-03", 1): strings.Replace(sampledParent, "-01", "-03", 1),
		strings.Replace(sampledParent, "-01", "-ff", 1): strings.Replace(sampledParent, "-01", "-03", 1),
		"cc" + sampledParent[2:]:                        sampledParent, // a version to come is read as 00
		"cc" + sampledParent[2:] + "-what-the-future":   sampledParent,
	}
	for in, want := range good {
		got, ok := ParseTraceparent([]byte(in))
		if out := string(got.AppendTraceparent(nil)); !ok || out != want {
			t.Errorf("%s: %v, passed on as %s, want %s", in, ok, out, want)
		}
	}
	for _, in := range []string{
		"", "00", sampledParent[:54], sampledParent + "-x", "cc" + sampledParent[2:] + "x", "ff" + sampledParent[2:],
		strings.ToUpper(sampledParent), strings.Replace(sampledParent, "-", "_", 1), "0g" + sampledParent[2:],
		"00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x", " " + sampledParent[1:],
	} {
		if got, ok := ParseTraceparent([]byte(in)); ok || !got.IsZero() {
			t.Errorf("%q was taken for %s", in, got.AppendTraceparent(nil))
		}
	}
}

func TestIDsAreUniqueAndFree(t *testing.T) {
	seen := map[string]bool{}
	for range 10_000 {
		id := string(AppendRequestID(nil))
		if len(id) != RequestIDSize || seen[id] {
			t.Fatalf("request id %q", id)
		}
		seen[id] = true
		tr := NewTrace(true)
		if tr.Child().ID != tr.ID || tr.Child().Span == tr.Span || !tr.Sampled() {
			t.Fatal("a child is not the same trace with a new span")
		}
	}
	buf, in := make([]byte, 0, 100), []byte(sampledParent)
	var none *Tracer
	if n := testing.AllocsPerRun(1000, func() {
		AppendRequestID(buf)
		s := none.Start(in, true, time.Time{})
		try := s.Try(time.Time{})
		try.Trace.AppendTraceparent(buf)
		try.End(time.Time{}, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWithoutSpansTraceContextIsPassedOn(t *testing.T) {
	for _, tr := range []*Tracer{nil, NewTracer(TracerOptions{})} {
		s := tr.Start([]byte(sampledParent), true, time.Now())
		try := s.Try(time.Now())
		if got := string(try.Trace.AppendTraceparent(nil)); got != sampledParent || s.Recorded() {
			t.Errorf("passed on as %s", got)
		}
		if s := tr.Start([]byte(sampledParent), false, time.Now()); !s.Trace.IsZero() {
			t.Error("a stranger's trace context was kept")
		}
	}
}

// collector is an OTLP receiver.
type collector struct {
	mu    sync.Mutex
	spans map[string]*pb.Span // by name
	auth  string
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var req coltrace.ExportTraceServiceRequest
	if r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &req) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.auth = r.Header.Get("Authorization")
	for _, rs := range req.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				c.spans[s.Name] = s
			}
		}
	}
}

// start runs a tracer until the returned function is called, which waits for its last spans.
func start(t *testing.T, tr *Tracer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = tr.Run(ctx) })
	for begin := time.Now(); tr.exporter.Load() == nil; time.Sleep(time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatal("the tracer did not start")
		}
	}
	return func() { cancel(); wg.Wait() }
}

func TestSpansAgreeWithWhatIsPassedOn(t *testing.T) {
	c := &collector{spans: map[string]*pb.Span{}}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	m := NewMetrics(nil)
	tr := NewTracer(TracerOptions{Metrics: m, Config: &config.Tracing{
		OTLP: srv.URL, Sample: 0, Headers: map[string]config.Secret{"Authorization": {Text: "Bearer x"}},
	}})
	stop := start(t, tr)

	if own := tr.Start(nil, true, time.Now()); own.Recorded() || own.Trace.IsZero() || own.Trace.Sampled() {
		t.Error("with a sample of 0 %, a request without context is recorded")
	}
	if s := tr.Start([]byte(strings.Replace(sampledParent, "-01", "-00", 1)), true, time.Now()); s.Recorded() {
		t.Error("a trace that its caller does not record is recorded")
	}
	begin := time.Unix(1_700_000_000, 0)
	s := tr.Start([]byte(sampledParent), true, begin)
	try := s.Try(begin.Add(time.Millisecond))
	try.End(begin.Add(2*time.Millisecond), &SpanEnd{
		Method: []byte("GET"), Scheme: "http", Address: "10.0.0.1:8080", Path: []byte("/a"), Member: "a", Status: 404, Tries: 2,
	})
	s.End(begin.Add(3*time.Millisecond), &SpanEnd{
		Server: true, Method: []byte("GET"), Listener: "web", Route: "shop", Host: []byte("shop.example:8443"), Status: 503, Tries: 2,
	})
	stop()

	server, client := c.spans["GET web/shop"], c.spans["GET"]
	if server == nil || client == nil {
		t.Fatalf("spans: %v", c.spans)
	}
	if server.Kind != pb.Span_SPAN_KIND_SERVER || client.Kind != pb.Span_SPAN_KIND_CLIENT {
		t.Errorf("kinds %v and %v", server.Kind, client.Kind)
	}
	if !bytes.Equal(server.TraceId, s.Trace.ID[:]) || !bytes.Equal(server.SpanId, s.Trace.Span[:]) ||
		!bytes.Equal(server.ParentSpanId, []byte{0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31}) {
		t.Errorf("the request's ids: %x %x %x", server.TraceId, server.SpanId, server.ParentSpanId)
	}
	if !bytes.Equal(client.SpanId, try.Trace.Span[:]) || !bytes.Equal(client.ParentSpanId, server.SpanId) {
		t.Errorf("the try's ids: %x below %x", client.SpanId, client.ParentSpanId)
	}
	if server.EndTimeUnixNano-server.StartTimeUnixNano != 3e6 || client.StartTimeUnixNano-server.StartTimeUnixNano != 1e6 {
		t.Error("times are not those given")
	}
	checkAttributes(t, server, map[string]string{
		"http.response.status_code": "503", "server.address": "shop.example", "server.port": "8443", "error.type": "503", "backstay.tries": "2",
	})
	checkAttributes(t, client, map[string]string{
		"url.full": "http://10.0.0.1:8080/a", "http.request.resend_count": "1", "error.type": "404", "backstay.member": "a",
	})
	if c.auth != "Bearer x" || m.node.spansExported.Load() != 2 {
		t.Errorf("authorization %q, exported %d", c.auth, m.node.spansExported.Load())
	}
}

func checkAttributes(t *testing.T, s *pb.Span, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for _, a := range s.Attributes {
		got[a.Key] = strings.Trim(strings.SplitN(a.Value.String(), ":", 2)[1], `"`)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %s is %q, want %q", s.Name, k, got[k], v)
		}
	}
	if s.Status.GetCode() != pb.Status_STATUS_CODE_ERROR {
		t.Errorf("%s: status %v", s.Name, s.Status)
	}
}

func TestSetTurnsSpansOnAndOff(t *testing.T) {
	srv := httptest.NewServer(&collector{spans: map[string]*pb.Span{}})
	t.Cleanup(srv.Close)
	tr := NewTracer(TracerOptions{})
	tr.Set(&config.Tracing{OTLP: srv.URL, Sample: 100})
	stop := start(t, tr)
	s := tr.Start(nil, false, time.Now())
	if !s.Recorded() || !s.Trace.Sampled() {
		t.Error("with a sample of 100 %, a request is not recorded")
	}
	tr.Set(nil)
	for begin := time.Now(); tr.exporter.Load() != nil; time.Sleep(time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatal("spans were not turned off")
		}
	}
	s.End(time.Now(), &SpanEnd{}) // late, and harmless
	stop()
	var none *Tracer
	none.Set(nil)
}
