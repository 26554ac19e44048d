package tcpproxy

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const errNotConnected = syscall.ENOTCONN

const (
	// bulkAfter is how many full buffers in a row make a stream worth splicing.
	bulkAfter = 2
	// thin is what a splice moves at least for the next one to be worth it.
	thin = bufferSize / 2
)

// move moves all of src: through user space while there is little, in the kernel while there is much.
func (f *flow) move() error {
	src := rawOf(f.src)
	if src == nil {
		return f.copy()
	}
	dst := rawOf(f.dst)
	in := reader{flow: f, src: src}
	in.try = in.attempt
	full := 0
	for {
		buf, n, err := in.read()
		if n > 0 {
			if n == bufferSize {
				full++
			} else {
				full = 0
			}
			werr := f.deliver(buf[:n])
			f.server.buffer.put(buf)
			if werr != nil {
				return werr
			}
		}
		if err == nil && full >= bulkAfter && dst != nil {
			full = 0
			err = f.splice(src, dst)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// rawOf is the socket under c, nil where c is something over it.
func rawOf(c net.Conn) syscall.RawConn {
	switch c := c.(type) {
	case *net.TCPConn:
		raw, _ := c.SyscallConn() // nil when closed; reading then says so
		return raw
	case *net.UnixConn:
		raw, _ := c.SyscallConn()
		return raw
	}
	return nil
}

// reader reads into a buffer that it borrows when bytes are there.
type reader struct {
	flow *flow
	src  syscall.RawConn
	try  func(fd uintptr) bool // attempt, bound once

	buf *[bufferSize]byte
	n   int
	err error
}

// read waits for bytes; the caller gives the buffer back where n > 0.
func (r *reader) read() (*[bufferSize]byte, int, error) {
	if err := r.src.Read(r.try); err != nil {
		return nil, 0, err
	}
	return r.buf, r.n, r.err
}

func (r *reader) attempt(fd uintptr) bool {
	buf := r.flow.server.buffer.get()
	n, err := ignoringEINTR(func() (int, error) { return unix.Read(int(fd), buf[:]) })
	if n > 0 {
		r.buf, r.n, r.err = buf, n, nil
		return true
	}
	r.flow.server.buffer.put(buf)
	if err == unix.EAGAIN {
		return false
	}
	r.buf, r.n, r.err = nil, 0, os.NewSyscallError("read", err)
	if err == nil {
		r.err = io.EOF
	}
	return true
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// splice moves bytes in the kernel as long as there is much at once. It returns nil when the stream has thinned out, or there
// is no pipe; io.EOF at its end.
func (f *flow) splice(src, dst syscall.RawConn) error {
	s := splicer{flow: f}
	fill, drain := s.fill, s.drain
	for {
		if err := src.Read(fill); err != nil {
			return err
		}
		if s.err == errNoPipe {
			return nil
		}
		if s.err != nil {
			return s.err
		}
		n := s.left
		f.live()
		if err := dst.Write(drain); err != nil {
			s.err = err
		}
		if s.err != nil {
			s.pipe.close() // something is left in it
			f.dstBroke = true
			return s.err
		}
		f.server.pipes.put(s.pipe)
		if n < thin {
			return nil
		}
	}
}

// splicer moves what is there from one socket to a pipe, and from the pipe to the other.
type splicer struct {
	flow *flow
	pipe pipe
	left int // bytes in the pipe
	err  error
}

const spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK

// fill borrows a pipe and fills it; without bytes it gives the pipe back and waits.
func (s *splicer) fill(fd uintptr) bool {
	if s.pipe, s.err = s.flow.server.pipes.get(); s.err != nil {
		return true
	}
	n, err := ignoringEINTR(func() (int, error) {
		n, err := unix.Splice(int(fd), nil, s.pipe.w, nil, pipeSize, spliceFlags)
		return int(n), err
	})
	if n > 0 {
		s.left = n
		return true
	}
	s.flow.server.pipes.put(s.pipe)
	switch err {
	case nil:
		s.err = io.EOF
	case unix.EAGAIN:
		return false
	default:
		s.err = os.NewSyscallError("splice", err)
	}
	return true
}

// drain empties the pipe; while dst takes nothing it waits.
func (s *splicer) drain(fd uintptr) bool {
	for s.left > 0 {
		n, err := ignoringEINTR(func() (int, error) {
			n, err := unix.Splice(s.pipe.r, nil, int(fd), nil, s.left, spliceFlags)
			return int(n), err
		})
		if n > 0 {
			s.left -= n
			s.flow.moved.Add(int64(n))
			s.flow.pulse.Add(1)
			s.flow.server.spliced.Add(int64(n))
			continue
		}
		if err == unix.EAGAIN {
			return false
		}
		if err == nil {
			err = unix.EPIPE
		}
		s.err = os.NewSyscallError("splice", err)
		return true
	}
	return true
}
