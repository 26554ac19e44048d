package httpproxy

import (
	"os"
	"syscall"
	"time"
)

// A poller waits for descriptors that become readable, each reported once.
type poller struct {
	fd     int
	r, w   *os.File // a pipe that interrupts
	events []syscall.EpollEvent
	ready  []int32
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	p := &poller{fd: fd, events: make([]syscall.EpollEvent, 256)}
	if p.r, p.w, err = os.Pipe(); err != nil {
		_ = syscall.Close(fd)
		return nil, err
	}
	if err := p.add(int(p.r.Fd())); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) add(fd int) error {
	e := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, fd, &e))
}

func (p *poller) remove(fd int) {
	_ = syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_DEL, fd, nil) // fails only where it was not added
}

// wait returns the descriptors that became readable, none after the time or an interrupt. The slice is valid until the next call.
func (p *poller) wait(d time.Duration) []int32 {
	n, _ := syscall.EpollWait(p.fd, p.events, int(d/time.Millisecond)) // EINTR: none were ready
	p.ready = p.ready[:0]
	for i := range max(n, 0) {
		p.ready = append(p.ready, p.events[i].Fd)
	}
	return p.ready
}

// interrupt ends a wait under way.
func (p *poller) interrupt() { _ = p.w.Close() }

func (p *poller) close() {
	_ = p.r.Close()
	_ = p.w.Close()
	_ = syscall.Close(p.fd)
}

// descriptor is the connection's socket.
func descriptor(l *link) (fd int, ok bool) {
	if l.raw == nil {
		return 0, false
	}
	err := l.raw.Control(func(s uintptr) { fd = int(s) })
	return fd, err == nil
}
