package httpproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/pool"
)

// A muxStream is a try over HTTP/2. The head that comes back is translated to that of an HTTP/1 response and parsed as one.
type muxStream struct {
	mux    *mux
	conn   *muxConn
	member *pool.Member
	ctx    context.Context
	cancel context.CancelCauseFunc
	kept   bool // the connection carried requests before
	idle   time.Duration
	by     instant // when the whole exchange must be over

	verb     http1.Verb
	scheme   string
	body     *conduit
	wrote    atomic.Bool    // the request's head was written
	interims chan interim   // heads ahead of the final one
	results  chan roundTrip // the final one, or none
	sent     bool           // the request was given to the connection
	waiting  bool           // and its result has not been taken yet
	head     []byte         // the last one as text
	response *http.Response
	buf      []byte
	ended    bool // the answer was read to its end
	over     chan struct{}
}

type interim struct {
	status int
	header textproto.MIMEHeader
}

type roundTrip struct {
	response *http.Response
	err      error
}

// mostInterims is how many 1xx heads are kept for the exchange to see; more are passed over.
const mostInterims = 8

var errMemberGone = errors.New("the member was taken away")

func newMuxStream(ctx context.Context, x *mux, c *muxConn, m *pool.Member, o *opening) *muxStream {
	x.mu.Lock()
	kept := !c.fresh
	x.mu.Unlock()
	s := &muxStream{
		mux: x, conn: c, member: m, kept: kept, idle: o.idle, by: o.by, scheme: "http",
		interims: make(chan interim, mostInterims), results: make(chan roundTrip, 1), over: make(chan struct{}),
	}
	if c.base != nil {
		s.scheme = "https"
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s
}

// Send implements stream.
func (s *muxStream) Send(a *ask, first piece) error {
	s.verb = a.Request.Verb
	trace := &httptrace.ClientTrace{
		WroteHeaders: func() { s.wrote.Store(true) },
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			select {
			case s.interims <- interim{code, header}:
			default:
			}
			return nil
		},
	}
	req := s.translate(a).WithContext(httptrace.WithClientTrace(s.ctx, trace))
	if a.Request.Length != 0 {
		data := first.Data
		if !first.End { // nobody keeps it for us
			data = append([]byte(nil), data...)
		}
		s.body = newConduit(data, first.End)
		s.body.trailer = announced(a.Request)
		s.body.trailers = withTrailers(first.Trailers)
		req.Body, req.ContentLength, req.Trailer = s.body, a.Request.Length, s.body.trailer
		if a.Request.Expect && !first.End { // the client waits for it, and this member does not get to know
			s.interims <- interim{status: http.StatusContinue}
		}
	}
	s.sent, s.waiting = true, true
	go func() {
		res, err := s.conn.RoundTrip(req) //nolint:bodyclose // Close does
		s.results <- roundTrip{res, err}
	}()
	return nil
}

// translate makes the request that net/http's types describe (RFC 9113, section 8.3.1).
func (s *muxStream) translate(a *ask) *http.Request {
	r := a.Request
	host := string(a.Host)
	if a.Host == nil {
		host = string(r.Host)
	}
	if host == "" {
		host = s.mux.home.address
	}
	u := &url.URL{Scheme: s.scheme, Host: host, Opaque: "//" + host + string(a.Path), RawQuery: string(a.Query), ForceQuery: a.Query != nil}
	if len(a.Path) == 1 && a.Path[0] == '*' {
		u.Opaque = "*"
	}
	h := http.Header{"User-Agent": nil} // or one would be made up
	for i := range r.Fields {
		if f := &r.Fields[i]; !f.Drop && !translated.Has(f.ID) {
			addField(h, f.Name, f.Value)
		}
	}
	for rest := a.Extra; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(": "))
		addField(h, name, value)
	}
	if r.Trailers {
		h["Te"] = []string{"trailers"}
	}
	return &http.Request{Method: string(r.Method), URL: u, Host: host, Header: h}
}

// translated are the fields that HTTP/2 says in other ways.
var translated = http1.SetOf(http1.Host, http1.ContentLength, http1.Expect, http1.Trailer)

// announced are the names of the trailers that the request says will come.
func announced(r *http1.Request) http.Header {
	h := http.Header{}
	for i := range r.Fields {
		if f := &r.Fields[i]; f.ID == http1.Trailer && !f.Drop {
			for name := range bytes.SplitSeq(f.Value, []byte{','}) {
				h[http.CanonicalHeaderKey(string(bytes.TrimSpace(name)))] = nil
			}
		}
	}
	return h
}

// withTrailers fills in the trailers when the body ends.
func withTrailers(fields []http1.Field) func(http.Header) {
	if len(fields) == 0 {
		return nil
	}
	return func(h http.Header) {
		for i := range fields {
			if f := &fields[i]; !f.Drop {
				addField(h, f.Name, f.Value)
			}
		}
	}
}

// Write implements stream.
func (s *muxStream) Write(p piece) error {
	if s.body == nil {
		return nil
	}
	return s.body.write(p.Data, p.End, withTrailers(p.Trailers))
}

// Receive implements stream.
func (s *muxStream) Receive(r *http1.Response, by instant) error {
	var late <-chan time.Time
	if by != 0 {
		t := time.NewTimer(time.Duration(by - now()))
		defer t.Stop()
		late = t.C
	}
	select {
	case i := <-s.interims:
		return s.parse(r, i.status, http.Header(i.header), "")
	default:
	}
	select {
	case i := <-s.interims:
		return s.parse(r, i.status, http.Header(i.header), "")
	case t := <-s.results:
		s.waiting = false
		if t.err != nil {
			return s.fail(t.err)
		}
		s.response = t.response
		return s.receive(r)
	case <-late:
		return &tryError{failure: failTimeout, unsent: !s.wrote.Load(), err: os.ErrDeadlineExceeded}
	}
}

// receive takes the final head.
func (s *muxStream) receive(r *http1.Response) error {
	res := s.response
	framing := announcement(res.Trailer)
	s.ended = res.ContentLength == 0 && s.verb != http1.HEAD
	if len(res.Trailer) > 0 && res.ContentLength > 0 && s.verb != http1.HEAD { // HTTP/1 has trailers in the chunked coding only
		res.ContentLength = -1
		delete(res.Header, "Content-Length")
	}
	if res.ContentLength < 0 {
		framing += "Transfer-Encoding: chunked\r\n"
	}
	if err := s.parse(r, res.StatusCode, res.Header, framing); err != nil {
		return err
	}
	if s.ended {
		r.Length, r.Close = 0, false
	}
	if r.Length != 0 && bytes.HasPrefix(r.Get(http1.ContentType), []byte("application/grpc")) {
		go s.watch()
	}
	return nil
}

// announcement is the field line that says which trailers will come.
func announcement(trailers http.Header) string {
	if len(trailers) == 0 {
		return ""
	}
	return "Trailer: " + strings.Join(slices.Sorted(maps.Keys(trailers)), ", ") + "\r\n"
}

// watch ends a gRPC stream when the member's sessions are cut: such streams live as long as upgraded connections do.
func (s *muxStream) watch() {
	select {
	case <-s.member.Gone():
		s.cancel(errMemberGone)
	case <-s.over:
	}
}

// parse makes a response of a head.
func (s *muxStream) parse(r *http1.Response, status int, h http.Header, framing string) error {
	dst := http1.AppendStatusLine(s.head[:0], status, nil)
	for name, values := range h {
		for _, v := range values {
			dst = http1.AppendField(dst, name, v)
		}
	}
	s.head = append(append(dst, framing...), '\r', '\n')
	n, err := r.Parse(s.head, memberLimits, s.verb)
	if err == nil && n != len(s.head) {
		err = &http1.Error{Status: 502, Reason: "the head of the answer cannot be told in HTTP/1: status " + strconv.Itoa(status)}
	}
	if err != nil {
		return &tryError{failure: failProtocol, err: err}
	}
	return nil
}

// Ready implements source.
func (s *muxStream) Ready() bool { return s.ended }

// Next implements source.
func (s *muxStream) Next() (piece, error) {
	if s.buf == nil {
		s.buf = s.mux.home.server.buffers.get()
	}
	if by := earlier(after(now(), s.idle), s.by); by != 0 {
		t := time.AfterFunc(time.Duration(by-now()), func() { s.cancel(os.ErrDeadlineExceeded) })
		defer t.Stop()
	}
	for {
		n, err := s.response.Body.Read(s.buf)
		switch {
		case errors.Is(err, io.EOF):
			s.ended = true
			return piece{Data: s.buf[:n], End: true, Trailers: trailerFields(s.response.Trailer)}, nil
		case n > 0:
			return piece{Data: s.buf[:n]}, nil
		case err != nil:
			return piece{}, s.fail(err)
		}
	}
}

// fail makes a tryError of an error.
func (s *muxStream) fail(err error) error {
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause
	}
	e := &tryError{failure: classify(err), err: err, unsent: !s.wrote.Load()}
	if errors.Is(err, errMemberGone) {
		e.failure = failGone
	}
	if refused(err) { // section 8.7: it was not processed
		e.unsent = true
	}
	e.stale = e.unsent && s.kept && e.failure == failReset
	return e
}

// refused says that the member told it did not process the request: REFUSED_STREAM, or GOAWAY with an earlier last stream.
func refused(err error) bool {
	var reset streamError
	if errors.As(err, &reset) {
		return reset.Code == refusedStream
	}
	switch err.Error() { // the package keeps these errors to itself
	case "http2: Transport received Server's graceful shutdown GOAWAY", "http2: client conn not usable",
		"http2: client conn could not be established":
		return true
	}
	return false
}

// A streamError is what net/http lets its own error of a stream that was reset be read as.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

// refusedStream is the code of RFC 9113, section 7.
const refusedStream = 7

// Error names the code.
func (e streamError) Error() string { return "stream reset with code " + strconv.Itoa(int(e.Code)) }

// Interrupt implements stream.
func (s *muxStream) Interrupt() {
	s.cancel(errInterrupted)
	if s.body != nil {
		s.body.fail(errInterrupted)
	}
}

// Close implements stream.
func (s *muxStream) Close() {
	close(s.over)
	if s.body != nil {
		s.body.fail(errInterrupted)
	}
	s.cancel(errInterrupted)
	switch {
	case !s.sent:
		s.conn.Release()
	case s.waiting:
		s.response = (<-s.results).response
	}
	if s.response != nil {
		_ = s.response.Body.Close() // gives back what it took of the connection's window
	}
	if s.buf != nil {
		s.mux.home.server.buffers.put(s.buf)
		s.buf = nil
	}
	s.mux.put(s.conn)
}
