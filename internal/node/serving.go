package node

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/operate/api"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

// serving is one socket being accepted from.
type serving struct {
	name   string
	kind   string // http, tcp, postgres or metrics
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (s *serving) stop() {
	s.cancel()
	s.done.Wait()
}

// listen accepts from every listener of the picture, and no longer from others. A listener that stays is not touched:
// it reads its new settings from the snapshot. The sockets are open already.
func (n *Node) listen(snap *snapshot.Snapshot) {
	wanted := map[string]*serving{}
	for _, l := range snap.HTTP {
		wanted[l.Config.Listen] = &serving{name: l.Name, kind: "http"}
	}
	for _, l := range snap.TCP {
		kind := "tcp"
		if l.Config.KeepSessions {
			kind = "postgres"
		}
		wanted[l.Config.Listen] = &serving{name: l.Name, kind: kind}
	}
	if m := snap.Config.Metrics; m != nil {
		wanted[m.Listen] = &serving{name: "metrics", kind: "metrics"}
	}
	for address, s := range n.serving {
		if w := wanted[address]; w == nil || w.name != s.name || w.kind != s.kind {
			s.stop()
			delete(n.serving, address)
		}
	}
	for address, s := range wanted {
		if n.serving[address] == nil {
			n.serving[address] = s
			n.accept(s, address)
		}
	}
	n.watchCertificates(snap)
}

func (n *Node) accept(s *serving, address string) {
	ln, err := n.listeners.Open(address)
	if err != nil { // it was opened when the picture was staged
		n.log.Error("a staged socket is gone", "address", address, "error", err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.done.Go(func() {
		var err error
		switch s.kind {
		case "http":
			err = n.http.Serve(ctx, s.name, ln)
		case "tcp":
			err = n.tcp.Serve(ctx, s.name, ln)
		case "postgres":
			err = n.sessions.Serve(ctx, s.name, ln)
		case "metrics":
			err = n.serveMetrics(ctx, ln)
		}
		if err != nil {
			n.log.Error("a listener ended", "listener", s.name, "address", address, "error", err)
		}
	})
}

// watchCertificates follows the files of this picture's certificates, and no longer those of the one before.
func (n *Node) watchCertificates(snap *snapshot.Snapshot) {
	if n.certificates != nil {
		n.certificates.stop()
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.certificates = &serving{name: "certificates", cancel: cancel}
	for _, tls := range snap.TLS() {
		n.certificates.done.Go(func() { _ = tls.Run(ctx) }) // ends with ctx only
	}
}

// stopServing accepts nothing any more; what was accepted goes on. Metrics stay up to the end.
func (n *Node) stopServing() {
	n.mu.Lock()
	defer n.mu.Unlock()
	var keep []string
	for address, s := range n.serving {
		if s.kind == "metrics" {
			keep = append(keep, address)
			continue
		}
		s.stop()
	}
	n.certificates.stop()
	n.listeners.Keep(keep...)
}

// serveMetrics answers /metrics, /healthz (the process lives) and /readyz (it takes new work).
func (n *Node) serveMetrics(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", n.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		state := n.state.Load().(api.NodeState)
		if state != api.NodeReady {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte(string(state) + "\n"))
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	err := srv.Serve(borrowed{ln})
	borrowed{ln}.wait(time.Time{})
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil // told to end, or the socket's owner closed it at the node's end
	}
	return err
}

// borrowed leaves closing a socket to its owner, as another configuration may go on with it: closing it only ends the wait
// for a connection, which the server's own Close would else wait for.
type borrowed struct{ net.Listener }

// Close implements net.Listener.
func (b borrowed) Close() error {
	b.wait(time.Unix(1, 0))
	return nil
}

// wait says how long Accept waits; zero is without end.
func (b borrowed) wait(until time.Time) {
	if d, ok := b.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(until) // fails only on a closed socket
	}
}

func listenerKind(l config.Listener) string {
	if l.Kind() == config.HTTP {
		return "http"
	}
	if l.KeepSessions {
		return "postgres"
	}
	return "tcp"
}
