package tcpproxy

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is what a pipe holds where the system lets it.
	pipeSize = 256 << 10
	// pipesKept is how many unused pipes are kept: as many as move bytes at the same instant, which is a matter of cores.
	pipesKept = 64
)

// pipe is an empty pipe; its ends do not block.
type pipe struct{ r, w int }

func (p pipe) close() {
	_ = unix.Close(p.r) // a pipe has nothing to lose
	_ = unix.Close(p.w)
}

// pipes lends pipes out, for as long as there are bytes in them.
type pipes struct {
	mu     sync.Mutex
	unused []pipe
	closed bool
}

func (p *pipes) get() (pipe, error) {
	p.mu.Lock()
	if n := len(p.unused); n > 0 {
		got := p.unused[n-1]
		p.unused = p.unused[:n-1]
		p.mu.Unlock()
		return got, nil
	}
	p.mu.Unlock()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return pipe{}, os.NewSyscallError("pipe2", err)
	}
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize) // a smaller one does as well
	return pipe{fds[0], fds[1]}, nil
}

// put takes back a pipe, which must be empty.
func (p *pipes) put(unused pipe) {
	p.mu.Lock()
	keep := !p.closed && len(p.unused) < pipesKept
	if keep {
		p.unused = append(p.unused, unused)
	}
	p.mu.Unlock()
	if !keep {
		unused.close()
	}
}

// close closes all unused pipes, and those in use when they come back.
func (p *pipes) close() {
	p.mu.Lock()
	unused := p.unused
	p.unused, p.closed = nil, true
	p.mu.Unlock()
	for _, u := range unused {
		u.close()
	}
}
