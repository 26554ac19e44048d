package httpproxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
)

// An http2Client is one stream of a client's HTTP/2 connection: the client of one exchange. What it asks for is translated to the
// head of an HTTP/1 request (RFC 9113, section 8) and parsed as one, so that whatever holds for those holds here.
type http2Client struct {
	conn    *http2Conn
	w       http.ResponseWriter
	r       *http.Request
	request *http1.Request
	in      intake
	idle    time.Duration // how long the client may take nothing of its answer
	stalled *time.Timer
	mu      sync.Mutex
	over    bool  // w is not ours any more
	limit   int64 // of the body, 0 is none
	body    int64

	status   int // of the final answer
	sent     bool
	bare     bool
	complete bool // the answer was passed on to its end
	aborted  bool
}

func (c *http2Client) serve(v *vantage) {
	s := c.conn.server
	e := s.exchanges.get()
	defer s.exchanges.put(e)
	c.begin(e, v)
	c.in.begin(c.r.Body, &s.buffers, time.Duration(v.listener.Config.Timeout.BodyIdle))
	c.in.ended = c.r.Body == http.NoBody || c.r.Body == nil
	defer c.in.end()
	defer c.finish()
	l := &v.listener.Config.Limits
	c.limit = int64(l.Body)
	head := appendHTTP2Head(s.buffers.get()[:0], c.r)
	defer func() { s.buffers.put(head) }()
	n, err := c.request.Parse(head, http1.Limits{Head: max(2*int(l.Head), len(head)+1), Fields: l.Headers})
	if err == nil && (n != len(head) || c.in.ended && c.request.Length > 0) {
		err = &http1.Error{Status: 400, Reason: "the body is not as long as announced"}
	}
	if err != nil {
		c.refuse(e, err)
		return
	}
	if v.trusted {
		e.remote = origin(v.listener, c.request, c.conn.remote)
	}
	e.run()
	if !c.complete {
		c.aborted = true
	}
}

// begin makes the exchange this stream's.
func (c *http2Client) begin(e *exchange, v *vantage) {
	h := c.conn
	c.request = &e.own
	e.server, e.ctx, e.client, e.request, e.listener = h.server, c.r.Context(), c, c.request, v.listener
	e.remote, e.local, e.peer, e.secure, e.trusted, e.said = h.remote, h.local, h.peer, h.secure, v.trusted, v.said
	e.proto, e.mayLeave = "HTTP/2.0", true
	e.start = now()
}

// refuse answers what is not a valid request.
func (c *http2Client) refuse(e *exchange, err error) {
	var bad *http1.Error
	if !errors.As(err, &bad) {
		bad = &http1.Error{Status: 400, Reason: err.Error()}
	}
	why := telemetry.RefusedBadRequest
	if bad.Status == 431 || bad.Status == 414 {
		why = telemetry.RefusedTooLarge
	}
	e.listener.Metrics.Refused(why)
	c.request.Reset()
	e.reset()
	e.trusted = false
	e.identify()
	e.fail(failed{status: bad.Status, what: bad.Reason})
	e.account()
}

// appendHTTP2Head appends the head of an HTTP/1 request that asks for the same.
func appendHTTP2Head(dst []byte, r *http.Request) []byte {
	dst = append(append(dst, r.Method...), ' ')
	dst = append(append(dst, r.RequestURI...), " HTTP/1.1\r\n"...)
	if r.Host != "" {
		dst = http1.AppendField(dst, "Host", r.Host)
	}
	for name, values := range r.Header {
		if name == "Host" && len(values) == 1 && strings.EqualFold(values[0], r.Host) {
			continue // it stands for :authority, or says the same
		}
		for _, v := range values {
			dst = http1.AppendField(dst, name, v)
		}
	}
	if len(r.Trailer) > 0 {
		dst = append(dst, "Trailer: "...)
		for name := range r.Trailer {
			dst = append(append(dst, name...), ", "...)
		}
		dst = append(dst[:len(dst)-2], '\r', '\n')
	}
	if r.ContentLength < 0 {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return append(dst, '\r', '\n')
}

// Ready implements source.
func (c *http2Client) Ready() bool { return c.in.ready() }

// Next implements source.
func (c *http2Client) Next() (piece, error) {
	if c.in.ended {
		return piece{End: true, Trailers: trailerFields(c.r.Trailer)}, nil
	}
	data, err := c.in.next()
	atEnd := errors.Is(err, io.EOF)
	if err != nil && !atEnd {
		return piece{}, err
	}
	if c.body += int64(len(data)); c.limit > 0 && c.body > c.limit {
		return piece{}, errTooLarge
	}
	p := piece{Data: data, End: atEnd || c.request.Length >= 0 && c.body == c.request.Length && len(c.r.Trailer) == 0}
	if p.End {
		c.in.ended = true
		p.Trailers = trailerFields(c.r.Trailer)
	}
	return p, nil
}

// trailerFields are the trailers as fields; those that must not be trailers are left out.
func trailerFields(h http.Header) []http1.Field {
	var fields []http1.Field
	for name, values := range h {
		if id := http1.Identify([]byte(name)); id != http1.Unknown && id != http1.ETag && id != http1.Date {
			continue
		}
		for _, v := range values {
			fields = append(fields, http1.Field{Name: []byte(name), Value: []byte(v)})
		}
	}
	return fields
}

// Answer implements client.
func (c *http2Client) Answer(a *answer) error {
	h := c.w.Header()
	if c.status != 0 { // another takes the place of one that was not sent
		clear(h)
	}
	if a.Response != nil {
		for i := range a.Response.Fields {
			if f := &a.Response.Fields[i]; !f.Drop {
				addField(h, f.Name, f.Value)
			}
		}
	}
	for rest := a.Extra; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(": "))
		addField(h, name, value)
	}
	if a.Status < 200 {
		c.w.WriteHeader(a.Status)
		clear(h)
		return nil
	}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // or one would be guessed
	}
	c.status = a.Status
	c.bare = c.request.Verb == http1.HEAD || a.Status == 204 || a.Status == 304
	if a.Response == nil && a.Status != 204 && a.Status != 304 {
		addField(h, []byte("Content-Length"), strconv.AppendInt(nil, a.Length, 10))
	}
	c.in.patient.Store(true)
	return nil
}

func addField(h http.Header, name, value []byte) {
	key := http.CanonicalHeaderKey(string(name))
	h[key] = append(h[key], string(value))
}

// Write implements client.
func (c *http2Client) Write(p piece) error {
	c.startTimer()
	defer c.stopTimer()
	if !c.sent {
		c.sent = true
		c.w.WriteHeader(c.status)
	}
	if len(p.Data) > 0 && !c.bare {
		if _, err := c.w.Write(p.Data); err != nil {
			return err
		}
	}
	if p.End {
		for i := range p.Trailers {
			if f := &p.Trailers[i]; !f.Drop {
				addField(c.w.Header(), append([]byte(http.TrailerPrefix), f.Name...), f.Value)
			}
		}
		c.complete = true
		return nil // what is held back leaves with the end of the stream
	}
	return http.NewResponseController(c.w).Flush()
}

// startTimer begins to count how long the client takes nothing.
func (c *http2Client) startTimer() {
	switch {
	case c.idle <= 0:
	case c.stalled == nil:
		c.stalled = time.AfterFunc(c.idle, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if !c.over {
				_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now()) // resets the stream
			}
		})
	default:
		c.stalled.Reset(c.idle)
	}
}

func (c *http2Client) stopTimer() {
	if c.stalled != nil {
		c.stalled.Stop()
	}
}

// finish lets go of the stream.
func (c *http2Client) finish() {
	c.stopTimer()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
}

// Abort implements client: the stream is reset, unless its end was written.
func (c *http2Client) Abort() { c.aborted = !c.complete }

// Interrupt implements client.
func (c *http2Client) Interrupt() { c.in.interrupt() }

// Resume implements client.
func (c *http2Client) Resume() { c.in.resume() }
