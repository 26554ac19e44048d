package httpx_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/backstay/backstay/resilience"
	"github.com/backstay/backstay/resilience/httpx"
)

func ExampleTransport() {
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if tries++; tries < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()

	transport, err := httpx.NewTransport(httpx.TransportOptions{
		Retry: resilience.RetryOptions{Attempts: 3, PerTry: time.Second},
		Gates: []resilience.Gate{resilience.NewBreaker(resilience.BreakerOptions{})},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	response, err := (&http.Client{Transport: transport}).Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	fmt.Println(response.Status, "after", tries, "tries")
	// Output: 200 OK after 3 tries
}

func ExampleHandler() {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "a page") })
	rate := resilience.NewRate(resilience.RateOptions{PerSecond: 1, Burst: 1})
	handler := httpx.Handler(page, httpx.HandlerOptions{Gates: []resilience.Gate{rate}})
	for range 2 {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 200 a page
	// 429 too many calls: slow down, try again later
}

func ExampleHandler_modes() {
	mode := resilience.NewMode("images off", resilience.ModeOptions{Open: 0.5})
	mode.Force(true) // or, by itself: go mode.Follow(ctx, func() float64 { return shed.Snapshot().Level })
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if resilience.IsDegraded(r.Context(), "images off") {
			fmt.Fprintln(w, "a page without images")
			return
		}
		fmt.Fprintln(w, "a page")
	})
	handler := httpx.Handler(page, httpx.HandlerOptions{Modes: []*resilience.Mode{mode}})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Print(w.Header().Get(httpx.DegradedHeader), ": ", w.Body)
	// Output: images off: a page without images
}
