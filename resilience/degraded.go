package resilience

import (
	"context"
	"slices"
	"time"
)

// mostDegraded bounds how many modes a context names, as they may come from outside.
const mostDegraded = 16

type degradedKey struct{}

// WithDegraded says which degradation modes are open for calls under this context, besides those already said; adapters call it
// with the service's own modes and with what a header says, and pass it on.
func WithDegraded(ctx context.Context, modes ...string) context.Context {
	all := Degraded(ctx)
	known := len(all)
	for _, mode := range modes {
		if mode != "" && len(all) < mostDegraded && !slices.Contains(all, mode) {
			all = append(all[:len(all):len(all)], mode)
		}
	}
	if len(all) == known {
		return ctx
	}
	return context.WithValue(ctx, degradedKey{}, all)
}

// Degraded names the modes that are open for this call: what the service, or one before it, has chosen to leave out. It must
// not be changed.
func Degraded(ctx context.Context) []string {
	modes, _ := ctx.Value(degradedKey{}).([]string)
	return modes
}

// IsDegraded says whether a mode is open for this call.
func IsDegraded(ctx context.Context, mode string) bool { return slices.Contains(Degraded(ctx), mode) }

// Follow observes a signal four times within For until the context ends, so that the mode opens and closes by itself. It returns
// the context's cause.
func (m *Mode) Follow(ctx context.Context, signal func() float64) error {
	ticker := time.NewTicker(max(m.options.For/4, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			m.Observe(signal())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
