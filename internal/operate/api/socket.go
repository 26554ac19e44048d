package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// maxSocketPath is what the kernel takes (sun_path, less its final zero).
const maxSocketPath = 107

// socket is the listening end of the admin socket; closing it removes the file.
type socket struct {
	net.Listener
	path string
	file os.FileInfo
}

// listen opens the socket. It is bound inside a folder that only this user can enter and then moved into place, so
// that there is no moment at which others could connect, whatever the umask.
func listen(path string) (*socket, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("admin socket: %w: choose a folder that this user can make with --data or --socket", err)
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	private, err := os.MkdirTemp(dir, ".s")
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w: choose a folder that this user can write to with --data or --socket", err)
	}
	defer func() { _ = os.RemoveAll(private) }()
	bound := filepath.Join(private, "s")
	if n := max(len(bound), len(path)); n > maxSocketPath {
		return nil, fmt.Errorf("admin socket %s: the path is %d bytes too long for a unix socket: choose a shorter one with --socket",
			path, n-maxSocketPath)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: bound, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	s := &socket{Listener: l, path: path}
	if err = os.Chmod(bound, 0o600); err == nil {
		if s.file, err = os.Stat(bound); err == nil {
			err = os.Rename(bound, path)
		}
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	return s, nil
}

// vacant makes sure that nothing but a dead process's socket is in the way.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("admin socket: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("admin socket: %s is there and is no socket: move it away or choose another path with --socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("admin socket: another node answers at %s: stop it first, or give this one its own --data folder", path)
	}
	return nil
}

// Close stops listening and removes the file, unless somebody put another in its place.
func (s *socket) Close() error {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.file) {
		_ = os.Remove(s.path)
	}
	return s.Listener.Close()
}

// with makes every request's context end with ctx.
func (s *socket) with(ctx context.Context, server *http.Server) net.Listener {
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	return s
}
