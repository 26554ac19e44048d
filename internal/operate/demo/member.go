package demo

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// memberEnv makes this program a sample member: NAME@ADDRESS.
const memberEnv = "BACKSTAY_DEMO_MEMBER"

func memberSpec() string { return os.Getenv(memberEnv) }

// serveMember is a sample member: a small web server with a health page and a dial for slowness. One whose name begins
// with "recommendations" misbehaves on a clock.
func serveMember(ctx context.Context) error {
	name, address, ok := strings.Cut(memberSpec(), "@")
	if !ok {
		return fmt.Errorf("%s is %q, not NAME@ADDRESS", memberEnv, memberSpec())
	}
	var delay atomic.Int64
	began := time.Now()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("POST /control", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Query().Get("delay"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		delay.Store(int64(d))
	})
	mux.HandleFunc("GET /recommendations", func(w http.ResponseWriter, _ *http.Request) {
		switch mood(time.Since(began)) {
		case failing:
			http.Error(w, "the recommendations are out of order", http.StatusInternalServerError)
		case slow:
			time.Sleep(2 * time.Second)
			fallthrough
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintln(w, `["a better mousetrap"]`)
		}
	})
	busy := make(chan struct{}, 4)
	work := func(w http.ResponseWriter, _ *http.Request) {
		busy <- struct{}{}
		time.Sleep(20 * time.Millisecond)
		<-busy
		_, _ = fmt.Fprintln(w, "done")
	}
	mux.HandleFunc("GET /checkout", work)
	mux.HandleFunc("GET /prefetch", work)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(time.Duration(delay.Load()))
		_, _ = fmt.Fprintf(w, "hello from %s\n", name)
	})
	srv := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if err := srv.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// The moods of the recommendations, by the clock: eight seconds fine, four failing, three slow.
const (
	fine = iota
	failing
	slow
)

func mood(t time.Duration) int {
	switch s := int(t.Seconds()) % 15; {
	case s < 8:
		return fine
	case s < 12:
		return failing
	default:
		return slow
	}
}
