package cluster

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestEtcdsLogIsQuietAndItsLastWordsAreHeard(t *testing.T) {
	var text bytes.Buffer
	var failure string
	removed := false
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelInfo}))
	z := newZap(log, func(reason string) { failure = reason }, func() { removed = true })
	z.Info("chatter")
	for range 100 {
		z.With(zap.String("remote-peer-id", "1")).Warn("peer is away", zap.Int("n", 1))
	}
	z.Warn("server error", zap.Error(errors.New("the member has been permanently removed from the cluster")))
	done := make(chan struct{})
	go func() { // the message ends this goroutine, and not the process
		defer close(done)
		z.Fatal("cannot write", zap.Error(errors.New("no space left")))
	}()
	<-done
	if got := text.String(); strings.Contains(got, "chatter") || strings.Count(got, "peer is away") != 1 ||
		!strings.Contains(got, `level=INFO msg="etcd: peer is away" n=1 remote_peer_id=1`) {
		t.Errorf("log:\n%s", got)
	}
	if failure != "cannot write: no space left" || !removed {
		t.Errorf("failure %q, removed %t", failure, removed)
	}
}

func TestFatalIsTheMembersEndNotTheProcesss(t *testing.T) {
	c := Open(Options{Cluster: "shop", Node: "a"})
	c.failed("first")
	c.failed("second") // never blocks
	if got := <-c.failures; got != "first" {
		t.Errorf("failure %q", got)
	}
}
