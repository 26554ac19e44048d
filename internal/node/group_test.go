package node

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
)

func TestGroupStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stopped []string
		g := &group{}
		for _, name := range []string{"store", "health", "proxy"} {
			g.Add(name, func(ctx context.Context) error {
				<-ctx.Done()
				stopped = append(stopped, name)
				return nil
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(stopped, " "); got != "proxy health store" {
			t.Errorf("stopped in the order %q", got)
		}
	})
}

func TestGroupEndsWithItsFirstPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &group{}
		g.Add("good", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		g.Add("bad", func(context.Context) error { return errors.New("out of luck") })
		err := g.Run(t.Context())
		if err == nil || err.Error() != "bad: out of luck" {
			t.Errorf("got %v, want the bad part's error with its name", err)
		}
	})
}
