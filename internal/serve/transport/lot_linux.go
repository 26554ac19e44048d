package transport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Sleeper is a connection that waits in a Lot.
type Sleeper interface {
	// Wake is called exactly once for each Park: there is something to read, the peer is gone, or the time is up. It must
	// not block.
	Wake()
}

// A Lot watches connections on which nothing is expected soon. A waiting connection costs an entry in a table instead of
// a goroutine with its stack, which is most of what an idle connection weighs.
//
// Between Park and Wake the Lot owns the connection: nobody else reads, writes or closes it.
type Lot struct {
	mu     sync.Mutex
	poll   *os.File // an epoll instance, itself watched by the runtime's poller
	spaces []space  // by descriptor
	parked int
	most   int // parked at the last look
	given  int // parked when memory was last given back
}

type space struct {
	sleeper Sleeper
	by      time.Time // zero is never
}

// sweepLot is how late the end of a sleeper's time may be noticed.
const sweepLot = time.Second

// Park hands a connection to the lot, until by at the latest (zero: without end). An error means that it was not taken.
// Run must be running for anything to wake.
func (l *Lot) Park(conn syscall.RawConn, by time.Time, s Sleeper) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.open(); err != nil {
		return err
	}
	var err error
	if e := conn.Control(func(fd uintptr) { err = l.add(int(fd), space{s, by}) }); e != nil {
		return e
	}
	return err
}

func (l *Lot) open() error {
	if l.poll != nil {
		return nil
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return errors.Join(fmt.Errorf("epoll: %w", err), unix.Close(fd))
	}
	l.poll = os.NewFile(uintptr(fd), "epoll")
	return nil
}

// add watches fd for one event. It is level-triggered: what is there already wakes at once.
func (l *Lot) add(fd int, s space) error {
	raw, err := l.poll.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(epoll uintptr) {
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(fd)}
		failed = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, fd, &ev)
		if failed == unix.EEXIST { // it was here before
			failed = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_MOD, fd, &ev)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	for len(l.spaces) <= fd {
		l.spaces = append(l.spaces, space{})
	}
	l.spaces[fd] = s
	l.parked++
	return nil
}

// take empties a space. Sleepers are woken by who took them, so that each is woken once.
func (l *Lot) take(fd int) Sleeper {
	if fd >= len(l.spaces) || l.spaces[fd].sleeper == nil {
		return nil
	}
	s := l.spaces[fd].sleeper
	l.spaces[fd] = space{}
	l.parked--
	return s
}

// WakeAll wakes every sleeper for which chosen holds.
func (l *Lot) WakeAll(chosen func(Sleeper) bool) {
	l.wakeWhere(func(s space) bool { return chosen(s.sleeper) })
}

func (l *Lot) wakeWhere(chosen func(space) bool) {
	var woken []Sleeper
	l.mu.Lock()
	for fd := range l.spaces {
		if s := l.spaces[fd]; s.sleeper != nil && chosen(s) {
			woken = append(woken, l.take(fd))
		}
	}
	l.mu.Unlock()
	for _, s := range woken {
		s.Wake()
	}
}

// Parked is how many connections wait.
func (l *Lot) Parked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.parked
}

// Run wakes sleepers until ctx is done, then all that are left.
func (l *Lot) Run(ctx context.Context) error {
	l.mu.Lock()
	err := l.open()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	var watching sync.WaitGroup
	watching.Go(l.watch)
	t := time.NewTicker(sweepLot)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			l.sweep(now)
		case <-ctx.Done():
			l.mu.Lock()
			err := l.poll.Close()
			l.mu.Unlock()
			watching.Wait()
			l.WakeAll(func(Sleeper) bool { return true })
			return err
		}
	}
}

// watch wakes whoever has something to read, until the epoll instance is closed.
func (l *Lot) watch() {
	raw, err := l.poll.SyscallConn()
	if err != nil {
		return // it is closed
	}
	events := make([]unix.EpollEvent, 256)
	woken := make([]Sleeper, 0, len(events))
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0) // interrupted or not, the next look tells
			return n > 0
		})
		if err != nil {
			return
		}
		woken = woken[:0]
		l.mu.Lock()
		for _, ev := range events[:max(n, 0)] {
			if s := l.take(int(ev.Fd)); s != nil {
				woken = append(woken, s)
			}
		}
		l.mu.Unlock()
		for _, s := range woken {
			s.Wake()
		}
	}
}

// Thresholds of giving memory back.
const (
	crowd = 1000 // sleepers that came since the last time,
	part  = 4    // and this part of those there were
)

// sweep wakes those whose time is up. When a crowd has fallen asleep and no more are coming, the stacks and buffers that
// it no longer needs go back to the system: nothing else would collect them while nothing happens.
func (l *Lot) sweep(now time.Time) {
	l.wakeWhere(func(s space) bool { return !s.by.IsZero() && !now.Before(s.by) })
	l.mu.Lock()
	calm := l.parked <= l.most
	l.most = l.parked
	settled := calm && l.parked >= l.given+crowd && l.parked >= l.given+l.given/part
	if settled || l.parked < l.given {
		l.given = l.parked
	}
	l.mu.Unlock()
	if settled {
		debug.FreeOSMemory()
	}
}
