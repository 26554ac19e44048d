package node

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/operate/api"
)

// A reload that moves the metrics, or gives their address to a listener, waits until they have let go of the socket.
func TestMetricsLetGoOfTheirSocket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	n := &Node{metrics: telemetry.NewMetrics(prometheus.NewRegistry())}
	n.state.Store(api.NodeReady)
	for range 2 { // the second has the same socket after the first
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.serveMetrics(ctx, ln) }()
		r, err := http.Get("http://" + ln.Addr().String() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			t.Errorf("/readyz says %s", r.Status)
		}
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("it still accepts a minute after it was told to end")
		}
		http.DefaultClient.CloseIdleConnections()
	}
}
