package httpx

import (
	"context"
	"errors"
	"net/http"

	"github.com/backstay/backstay/resilience"
)

// HandlerOptions says how requests are served.
type HandlerOptions struct {
	Gates []resilience.Gate // passed by each request: a shedder, a limit, a rate
	// Priority says how much a request matters; where nil, what its header says if it is trusted.
	Priority func(*http.Request) resilience.Priority
	// TrustPriority takes the header of requests for true: all who can reach this handler are this system's own.
	TrustPriority bool
}

// Handler serves requests behind gates. A refused one is answered by WriteError at once. Attempt, deadline and priority that
// the other side tells are in the request's context.
func Handler(next http.Handler, o HandlerOptions) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := readHeaders(r.Context(), r.Header, o.TrustPriority)
		defer cancel()
		if o.Priority != nil {
			ctx = resilience.WithPriority(ctx, o.Priority(r))
		}
		served := false
		_, err := resilience.Guard(ctx, func(ctx context.Context) (struct{}, error) {
			served = true
			watched := &statusWriter{ResponseWriter: w}
			next.ServeHTTP(watched, r.WithContext(ctx))
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return struct{}{}, ctx.Err()
			}
			return struct{}{}, statusError(watched.status, w.Header())
		}, o.Gates...)
		if !served {
			WriteError(w, err)
		}
	})
}

// statusWriter remembers the status. http.ResponseController reaches what is under it.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status < http.StatusOK { // the last one that is not informational counts
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status < http.StatusOK {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
