package httpproxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
)

// An end is one side of an upgraded connection: bytes, after those that were read already.
type end struct {
	link *link
	rw   net.Conn
	rest []byte
}

func (c *clientConn) rawEnd() end { return end{&c.link, c.rw, c.in.bytes()} }
func (m *memberConn) rawEnd() end { return end{&m.link, m.rw, m.in.bytes()} }

// upgrade answers 101 and passes bytes both ways until one side has enough, nothing moves for the service's idle timeout, or the member goes.
func (e *exchange) upgrade(took time.Duration) {
	client, ok := e.client.(interface{ rawEnd() end })
	member, ok2 := e.stream.(interface{ rawEnd() end })
	if e.request.Upgrade == nil || !ok || !ok2 {
		e.dropStream()
		e.member.Done(pool.Outcome{Result: pool.Failed, Took: took, Reason: telemetry.ClassProtocol})
		e.failTry(&tryError{failure: failProtocol, err: errNotAsked})
		return
	}
	e.begun, e.broken, e.status = true, true, 101
	e.answer = answer{Response: &e.response, Status: 101, Extra: e.answerFields(), Upgrade: e.response.Upgrade}
	o := pool.Outcome{Result: pool.OK, Took: took, Reason: telemetry.ClassOK}
	if err := e.client.Answer(&e.answer); err != nil {
		e.clientGone(o)
		return
	}
	e.member.Answered(took)
	o.Answered = true
	t := tunnel{client: client.rawEnd(), member: member.rawEnd(), idle: e.target.Timeout.Idle}
	e.note = t.run(e)
	e.in += t.in
	e.out += t.out
	e.dropStream()
	e.member.Done(o)
}

var errNotAsked = errors.New("the member changed the protocol unasked")

// A tunnel passes bytes between the two sides of an upgraded connection.
type tunnel struct {
	client, member end
	idle           time.Duration
	moved          atomic.Int64
	in, out        int64
}

// run returns how it ended, for the access log; empty for an orderly end.
func (t *tunnel) run(e *exchange) string {
	t.moved.Store(now())
	var cut atomic.Bool
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-done:
			return
		case <-e.member.Gone():
			cut.Store(true)
		case <-e.ctx.Done():
		}
		t.client.link.interrupt()
		t.member.link.interrupt()
	}()
	back := make(chan error, 1)
	go func() {
		var err error
		t.out, err = t.pass(&e.server.buffers, t.client, t.member)
		back <- err
	}()
	var err error
	t.in, err = t.pass(&e.server.buffers, t.member, t.client)
	err = errors.Join(err, <-back)
	close(done)
	<-watched
	switch {
	case cut.Load():
		return "cut: the member went"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "idle"
	}
	return ""
}

// pass moves bytes until from ends, which to is told. An error ends both directions.
func (t *tunnel) pass(b *buffers, to, from end) (n int64, err error) {
	buf := b.get()
	defer b.put(buf)
	p := from.rest
	for {
		if len(p) > 0 {
			if _, err = to.rw.Write(p); err != nil {
				break
			}
			n += int64(len(p))
			t.moved.Store(now())
		}
		from.link.expect(after(t.moved.Load(), t.idle))
		var m int
		m, err = from.rw.Read(buf)
		p = buf[:m]
		if m > 0 {
			continue
		}
		if err != nil && !t.goOn(err) {
			break
		}
	}
	if errors.Is(err, io.EOF) {
		return n, closeWrite(to.rw)
	}
	from.link.interrupt()
	to.link.interrupt()
	return n, err
}

// goOn says that time is not up after all: the other direction moved.
func (t *tunnel) goOn(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && t.idle > 0 && now()-t.moved.Load() < int64(t.idle)
}

// closeWrite tells the other side that nothing more comes, which still may send.
func closeWrite(c net.Conn) error {
	if l, ok := c.(*link); ok {
		c = l.Conn
	}
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Close()
}
