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
	// Tokens verifies signed priorities, from whomever they come; what is no good is as if it were not there.
	Tokens *resilience.Tokens
	// Modes are the service's ways to do less. Those that are open are in the request's context (resilience.IsDegraded), and in
	// the answer's header, so that who asked knows that it is not all there could be.
	Modes []*resilience.Mode
	// TrustDegraded takes the modes that requests name for open as well: the one before has chosen to leave them out.
	TrustDegraded bool
	Name          string              // what the observer is told of
	Observer      resilience.Observer // told of each request and each refusal
}

// Handler serves requests behind gates. A refused one is answered by WriteError at once. Attempt, deadline, priority and
// modes that the other side tells are in the request's context.
func Handler(next http.Handler, o HandlerOptions) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := readHeaders(r.Context(), r.Header, &o)
		defer cancel()
		if o.Priority != nil {
			ctx = resilience.WithPriority(ctx, o.Priority(r))
		}
		for _, mode := range o.Modes {
			if mode.Open() {
				ctx = resilience.WithDegraded(ctx, mode.Name())
			}
		}
		if modes := resilience.Degraded(ctx); len(modes) > 0 {
			w.Header().Set(DegradedHeader, modeList(modes))
		}
		_, _ = resilience.Watch(ctx, o.Observer, o.Name, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, serve(ctx, w, r, next, &o)
		})
	})
}

// serve serves a request behind the gates; its error is that of the refusal or of the answer.
func serve(ctx context.Context, w http.ResponseWriter, r *http.Request, next http.Handler, o *HandlerOptions) error {
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
		if o.Observer != nil && errors.Is(err, resilience.ErrRefused) {
			o.Observer(ctx, resilience.Event{Kind: resilience.EventRefusal, Name: o.Name, Err: err})
		}
		if errors.Is(err, resilience.ErrRefused) {
			w.Header().Set(RefusedHeader, "yes")
		}
		WriteError(w, err)
	}
	return err
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
