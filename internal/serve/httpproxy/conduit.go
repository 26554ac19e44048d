package httpproxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// errUnwanted says that the reader of a conduit has closed it: the rest of the body is not asked for.
var errUnwanted = errors.New("the member does not take the rest of the body")

// A conduit is a body that one goroutine writes piece by piece and another reads. It keeps nothing: a write ends when its
// bytes were read.
type conduit struct {
	mu       sync.Mutex
	moved    sync.Cond
	data     []byte
	end      bool
	closed   error
	lost     bool        // the reader closed it before it had taken everything
	trailer  http.Header // of the request, filled at the end
	trailers func(http.Header)
}

func newConduit(first []byte, end bool) *conduit {
	c := &conduit{data: first, end: end}
	c.moved.L = &c.mu
	return c
}

// write gives the reader the next piece and waits until it has taken it.
func (c *conduit) write(p []byte, end bool, trailers func(http.Header)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.data) > 0 && c.closed == nil { // the first piece, which nobody waited for
		c.moved.Wait()
	}
	if c.closed != nil {
		return c.closed
	}
	c.data, c.end, c.trailers = p, end, trailers
	c.moved.Broadcast()
	for len(c.data) > 0 && c.closed == nil {
		c.moved.Wait()
	}
	if c.lost {
		return c.closed
	}
	return nil
}

// Read implements io.Reader for whoever sends the body.
func (c *conduit) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.data) == 0 && !c.end && c.closed == nil {
		c.moved.Wait()
	}
	if c.closed != nil {
		return 0, c.closed
	}
	n := copy(p, c.data)
	if c.data = c.data[n:]; len(c.data) > 0 {
		return n, nil
	}
	c.moved.Broadcast()
	if !c.end {
		return n, nil
	}
	if c.trailers != nil && c.trailer != nil {
		c.trailers(c.trailer)
		c.trailers = nil
	}
	return n, io.EOF
}

// Close implements io.Closer for the reader, which wants no more.
func (c *conduit) Close() error {
	c.fail(errUnwanted)
	return nil
}

// fail ends reads and writes with this error; the piece under way is let go of.
func (c *conduit) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		c.closed, c.lost = err, len(c.data) > 0
		c.data = nil
	}
	c.moved.Broadcast()
}
