package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Listeners are the listening sockets of a node, one for each address, however often the configuration is read again.
type Listeners struct {
	log *slog.Logger

	mu   sync.Mutex
	open map[string]net.Listener // by address as configured
}

// NewListeners returns an empty set.
func NewListeners(log *slog.Logger) *Listeners {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Listeners{log: log, open: map[string]net.Listener{}}
}

// Open returns the socket that listens on addr (host:port, :port or unix:/path), the one already open where there is one.
// A socket file left behind by a process that no longer answers is replaced. The error says which address and what to do about it.
func (l *Listeners) Open(addr string) (net.Listener, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ln, ok := l.open[addr]; ok {
		return ln, nil
	}
	network, address := SplitAddress(addr)
	ln, err := listen(network, address)
	if network == "unix" && errors.Is(err, syscall.EADDRINUSE) {
		if err = removeStale(address); err == nil {
			ln, err = listen(network, address)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, l.explain(addr, err))
	}
	l.open[addr] = ln
	l.log.Debug("listening", "address", addr)
	return ln, nil
}

// Keep closes every socket but those of addrs.
func (l *Listeners) Keep(addrs ...string) {
	keep := make(map[string]bool, len(addrs))
	for _, a := range addrs {
		keep[a] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for addr, ln := range l.open {
		if keep[addr] {
			continue
		}
		delete(l.open, addr)
		if err := ln.Close(); err != nil {
			l.log.Warn("closing a listener failed", "address", addr, "error", err)
		}
	}
}

// Close closes all sockets.
func (l *Listeners) Close() error {
	l.Keep()
	return nil
}

// listen opens a socket whose accepted connections inherit keepalive, which saves four system calls for each of them.
func listen(network, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1, Control: controlListen}
	// Plain TCP: connections of MPTCP sockets cannot be spliced.
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), network, address)
}

// removeStale removes the socket file at path if nobody answers there.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return errNotSocket
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return syscall.EADDRINUSE // somebody may be there, only too busy to answer
	}
	return os.Remove(path)
}

var errNotSocket = errors.New("a file that is no socket is in the way; move it or choose another path")

// explain adds what to do about err. l.mu is held.
func (l *Listeners) explain(addr string, err error) error {
	network, address := SplitAddress(addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && network == "unix":
		return fmt.Errorf("%w; another process answers there: stop it, or choose another path", err)
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(address)
		for other := range l.open {
			if _, p, _ := net.SplitHostPort(other); p == port && port != "0" && !strings.HasPrefix(other, "unix:") {
				return fmt.Errorf("%w; this node listens on %s itself, which overlaps: use one of the two, and restart to change between them", err, other)
			}
		}
		return fmt.Errorf("%w; find the process with `ss -ltnp 'sport = :%s'` and stop it, or choose another port", err, port)
	case errors.Is(err, syscall.EACCES) && network == "unix":
		return fmt.Errorf("%w; let the user that runs backstay write to the folder", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w; ports below 1024 need the capability: set AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or use a higher port", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w; no interface of this machine has the address: check `ip address`, or listen on :port", err)
	case errors.Is(err, fs.ErrNotExist) && network == "unix":
		return fmt.Errorf("%w; create the folder first", err)
	}
	return err
}
