package tcpproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// bufferSize is what one read takes at most: two records of TLS.
const bufferSize = 32 << 10

// flow is one direction of a session.
type flow struct {
	server   *Server
	src, dst net.Conn
	head     []byte       // delivered first
	first    func()       // called once, before the first byte is delivered; may be nil
	keep     func([]byte) // called with what is about to be delivered; may be nil

	moved atomic.Int64 // bytes delivered
	pulse atomic.Int64 // grows with every sign of life

	// Set when run has returned.
	err      error
	dstBroke bool // err is of dst, not of src
}

// run moves bytes until src ends, and passes the end on.
func (f *flow) run() {
	if len(f.head) > 0 {
		if f.err = f.deliver(f.head); f.err != nil {
			return
		}
		f.head = nil
	}
	if f.err = f.move(); f.err != nil {
		return
	}
	if c, ok := f.dst.(interface{ CloseWrite() error }); ok {
		if err := c.CloseWrite(); err != nil && !isGone(err) {
			f.err, f.dstBroke = err, true
		}
	}
}

// isGone says that the other side has closed already: nobody is left to hear of an end.
func isGone(err error) bool { return errors.Is(err, errNotConnected) || errors.Is(err, net.ErrClosed) }

// deliver writes b to dst.
func (f *flow) deliver(b []byte) error {
	f.live()
	if f.keep != nil {
		f.keep(b)
	}
	n, err := f.dst.Write(b)
	f.moved.Add(int64(n))
	f.pulse.Add(1)
	f.dstBroke = err != nil
	return err
}

// live notes that src has said something.
func (f *flow) live() {
	f.pulse.Add(1)
	if f.first != nil {
		f.first()
		f.first = nil
	}
}

// copy moves bytes through user space, for sources that cannot be asked whether they have any.
func (f *flow) copy() error {
	buf := f.server.buffer.get()
	defer f.server.buffer.put(buf)
	for {
		n, err := f.src.Read(buf[:])
		if n > 0 {
			if werr := f.deliver(buf[:n]); werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// buffers lends buffers out.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *[bufferSize]byte {
	if buf, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buf
	}
	return new([bufferSize]byte)
}

func (b *buffers) put(buf *[bufferSize]byte) { b.pool.Put(buf) }
