package tcpproxy

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is what a pipe holds where the system lets it. Fewer, larger moves wake fewer threads; what the kernel buffers
	// for the two connections is several times as much.
	pipeSize = 512 << 10
	// leastPipe is what a pipe must hold to be of use: users over their share (pipe-user-pages-soft) get tiny ones.
	leastPipe = 64 << 10
	// pipesKept is how many unused pipes are kept: as many as move bytes at the same instant, which is a matter of cores.
	pipesKept = 64
)

// errNoPipe says that there is no useful pipe at the moment; user space does as well.
var errNoPipe = errors.New("no pipe to be had")

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
		return pipe{}, errNoPipe
	}
	made := pipe{fds[0], fds[1]}
	size, err := unix.FcntlInt(uintptr(made.r), unix.F_SETPIPE_SZ, pipeSize)
	if err != nil {
		size, err = unix.FcntlInt(uintptr(made.r), unix.F_GETPIPE_SZ, 0)
	}
	if err != nil || size < leastPipe {
		made.close()
		return pipe{}, errNoPipe
	}
	return made, nil
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
