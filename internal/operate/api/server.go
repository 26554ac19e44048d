package api

import (
	"context"
	"log/slog"
	"net/http"
)

// Options configures a Server.
type Options struct {
	Socket  string       // path of the unix socket
	System  System       // what is shown and steered
	Metrics http.Handler // served at /metrics; none when nil
	Version string
	Log     *slog.Logger
}

// Server answers on the admin socket.
type Server struct{ o Options }

// NewServer makes a Server.
func NewServer(o Options) *Server { return &Server{o: o} }

// Run listens on the socket until ctx ends. The folder is made with mode 0700, the socket with 0600; a socket left
// behind by a dead process is replaced, one that somebody still answers on is an error.
func (s *Server) Run(ctx context.Context) error { panic("not yet") }

// Handler is the API without its socket.
func (s *Server) Handler() http.Handler { panic("not yet") }
