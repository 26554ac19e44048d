package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// layer starts a Backstay in front of one address and gives its own.
func layer(t *testing.T, name, behind, policy string) string {
	t.Helper()
	dir := t.TempDir()
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	config := filepath.Join(dir, "backstay.yaml")
	text := fmt.Sprintf(`
services:
  - name: next
    members: [%q]
%s
listeners:
  - listen: %q
    routes: [{service: next}]
`, behind, policy, address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, name, binary, "run", "--config", config, "--data", filepath.Join(dir, "data"))
	await(t, patience, name+" listens", listens(address))
	return address
}

// TestRetryStorm: a backend that fails for ten seconds behind three layers of Backstay does not get more than 1.2 times the requests of the
// clients. Without breakers and outlier detection, budgets and attempts are alone with it: then it is what one layer's budget allows, and
// not the 1.7 times of three budgets multiplied.
func TestRetryStorm(t *testing.T) {
	for _, tt := range []struct {
		name, policy string
		most         float64
	}{
		{"defaults", "", 1.2},
		{"without breakers", "    breaker: off\n    outlier: off", 1.2},
	} {
		for _, how := range []string{"answers 503", "breaks off"} {
			t.Run(tt.name+", "+how, func(t *testing.T) {
				t.Parallel()
				storm(t, tt.policy, how, tt.most)
			})
		}
	}
}

func storm(t *testing.T, policy, how string, most float64) {
	var dead atomic.Bool
	var asked atomic.Int64
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch {
		case !dead.Load():
		case how == "breaks off":
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(backend.Close)
	backend.Config.ErrorLog = nil
	at := layer(t, "third", strings.TrimPrefix(backend.URL, "http://"), policy)
	at = layer(t, "second", at, policy)
	at = layer(t, "first", at, policy)

	// As long as the window in which budgets count: what a budget allows is a share of the requests of that time.
	const rate, calm, down = 200, 200, 2000 // requests: so many on a machine of any speed
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	t.Cleanup(client.CloseIdleConnections)
	var sent, good atomic.Int64
	var all sync.WaitGroup
	ask := func() {
		sent.Add(1)
		all.Go(func() {
			res, err := client.Get("http://" + at + "/")
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				good.Add(1)
			}
		})
	}
	drive := func(n int) (requests, load int64) {
		s, a := sent.Load(), asked.Load()
		tick := time.NewTicker(time.Second / rate)
		defer tick.Stop()
		for range n {
			<-tick.C
			ask()
		}
		all.Wait()
		return sent.Load() - s, asked.Load() - a
	}
	drive(calm)
	if n := sent.Load() - good.Load(); n > 0 {
		t.Fatalf("%d of %d requests failed while all was well", n, sent.Load())
	}
	dead.Store(true)
	requests, load := drive(down)
	t.Logf("%d requests while the backend failed made %d for it: %.2f times", requests, load, float64(load)/float64(requests))
	// A budget is a share of the requests of its window, of which those from before the failure are at its beginning, and a few more.
	if float64(load) > float64(requests)+(most-1)*float64(requests+calm)+9 {
		t.Errorf("%d requests of clients made %d for the backend, more than %.2f times as many", requests, load, most)
	}
	dead.Store(false)
	await(t, patience, "requests are answered again", func() bool {
		before := good.Load()
		ask()
		all.Wait()
		return good.Load() > before
	})
}
