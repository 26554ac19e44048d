package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"
)

// Options configures a Server.
type Options struct {
	Socket  string       // path of the unix socket
	System  System       // what is shown and steered
	Metrics http.Handler // served at /metrics; none when nil
	Version string       // of the program, for the OpenAPI description
	Log     *slog.Logger
}

// Server answers on the admin socket.
type Server struct{ o Options }

// NewServer makes a Server.
func NewServer(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{o: o}
}

// Run listens on the socket until ctx ends. The folder is made with mode 0700, the socket with 0600; a socket left
// behind by a dead process is replaced, one that somebody still answers on is an error.
func (s *Server) Run(ctx context.Context) error {
	l, err := listen(s.o.Socket)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.o.Log.Handler(), slog.LevelWarn),
	}
	serving, ended := context.WithCancel(context.WithoutCancel(ctx))
	defer ended()
	server.RegisterOnShutdown(ended) // ends streams of events
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	})
	err = server.Serve(l.with(serving, server))
	if stop() { // Serve failed by itself
		_ = l.Close()
		return fmt.Errorf("admin socket %s: %w", s.o.Socket, err)
	}
	if err := <-stopped; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("admin socket %s: %w", s.o.Socket, err)
	}
	return server.Close()
}

// Handler is the API without its socket.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	s.operations(mux)
	if s.o.Metrics != nil {
		mux.Handle("GET /metrics", s.o.Metrics)
	}
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
