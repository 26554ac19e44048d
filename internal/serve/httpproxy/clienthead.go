package httpproxy

import (
	"errors"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
)

// advance takes the next step with what the window holds. With fast, nothing more may be read from the client.
func (c *clientConn) advance(fast bool) progress {
	n := c.parsed
	if n == 0 {
		if c.in.empty() {
			if c.port.closing() {
				return needNone
			}
			c.expectIdle()
			return needMore
		}
		c.borrow()
		var err error
		if n, err = c.parse(); err != nil {
			c.refused(err)
			return needNone
		}
		if c.over {
			return needNone
		}
		if n == 0 {
			return c.incomplete()
		}
	}
	if fast && c.needsClient(n) {
		c.parsed = n
		return needSlow
	}
	c.parsed, c.headBy = 0, 0
	c.in.r += n
	if !c.exchangeOnce() {
		return needNone
	}
	return needAgain
}

// parse reads a head. Where it is HTTP/2's preface the connection is handed over, and over afterwards.
func (c *clientConn) parse() (int, error) {
	if c.requests == 0 && c.in.buf[c.in.r] == 'P' {
		is, undecided := http1.IsHTTP2Preface(c.in.bytes())
		if is && c.listener.Config.HTTP2 && c.server.http2 != nil {
			c.over, c.other = true, true
			return 0, nil
		}
		if undecided {
			return 0, nil
		}
	}
	l := &c.listener.Config.Limits
	return c.request.Parse(c.in.bytes(), http1.Limits{Head: int(l.Head), Fields: l.Headers})
}

// incomplete makes room for the rest of a head, and starts its clock.
func (c *clientConn) incomplete() progress {
	if c.headBy == 0 {
		c.headBy = after(now(), time.Duration(c.listener.Config.Timeout.Head))
	}
	c.expect(c.headBy)
	if c.in.room() == nil {
		bigger := make([]byte, 2*len(c.in.buf)) // the parser refuses what is over the limit
		copy(bigger, c.in.bytes())
		c.server.buffers.put(c.in.buf)
		c.in.buf = bigger
	}
	return needMore
}

// needsClient says whether serving the request may need more of the client than is there.
func (c *clientConn) needsClient(head int) bool {
	r := c.request
	return r.Length < 0 || r.Length > int64(c.in.len()-head) || r.Upgrade != nil
}

// refused answers what cannot be parsed.
func (c *clientConn) refused(err error) {
	var bad *http1.Error
	if !errors.As(err, &bad) {
		bad = &http1.Error{Status: 400, Reason: err.Error()}
	}
	why := telemetry.RefusedBadRequest
	if bad.Status == 431 || bad.Status == 414 {
		why = telemetry.RefusedTooLarge
	}
	c.listener.Metrics.Refused(why)
	c.refuse(bad)
}

// refuse answers without a request: the connection is over, as nobody knows where the next request begins.
func (c *clientConn) refuse(bad *http1.Error) {
	c.borrow()
	c.request.Reset()
	e := c.begin()
	e.reset()
	e.trusted = false
	e.identify()
	c.framing, c.ended = framedNone, true
	c.closing, c.linger = true, true
	e.fail(failed{status: bad.Status, what: bad.Reason})
	e.account()
	c.end()
}
