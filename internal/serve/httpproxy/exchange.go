package httpproxy

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

// An exchange is one request on its way: from the client that asks, to the member that answers, and back. Values are used again and
// again; what they refer to is valid until run returns.
type exchange struct {
	server *Server

	// The client's side, set before run.
	ctx      context.Context // done when the client is gone or the node gives up on it
	mayLeave bool            // ctx may be done any time: what waits for a member is interrupted then
	unwatch  func()          // ends that for the stream
	guard    *guard          // interrupts the stream when the node cuts the client off; may be nil
	client   client
	request  *http1.Request
	listener *snapshot.HTTPListener
	remote   netip.AddrPort // who asks, as PROXY protocol says where it is spoken
	local    netip.AddrPort
	peer     netip.Addr // the other end of the connection
	secure   bool
	trusted  bool   // the peer's word about the client is believed
	said     []byte // the field lines that tell members about remote and secure, made once for a connection
	proto    string // HTTP/1.1
	start    instant

	// What was decided.
	route   *snapshot.Route
	target  *snapshot.Target // nil for fixed answers
	service *snapshot.Service
	by      instant // when the whole request must be over, 0 is never
	heard   hearing
	ticket  pool.Ticket
	chain   chaining

	// The tries.
	body     replay
	query    pool.Query
	tried    []*pool.Member
	member   *pool.Member
	stream   stream
	decoder  http1.Chunked // of an HTTP/1 client's body
	own      http1.Request // where an HTTP/1 client's request is parsed
	tries    int
	retrying bool    // the budget has a retry of this request
	holdBy   instant // until when it may wait for a member that can be reached; 0 before it has to
	ask      ask
	answer   answer
	response http1.Response
	pumping  pump
	caching  caching

	// What is told afterwards.
	status    int
	in, out   int64
	waited    time.Duration // in queues and holding
	headAt    instant       // when the head of the answer came
	end       instant       // when the answer had been passed on
	final     bool          // trying again is no use: that was done
	timedOut  bool          // the last try got no answer in time
	hedgedAt  instant       // when the member whose answer counts was asked, where that is not the first one
	note      string
	fallback  bool
	cutShort  bool // the member broke its answer off
	begun     bool // a final head went to the client
	broken    bool // the client's connection cannot carry another answer
	span      telemetry.Span
	trySpan   telemetry.Span // of the try under way
	tryStatus int            // its answer's, 0 without one
	id        []byte         // request id
	path      []byte         // rewritten path
	extra     []byte         // field lines for the member
	edit      []byte         // field lines for the client
	page      []byte         // body of an answer of our own
}

// run carries the exchange from the parsed request to the end of its answer. It reports whether the client's side
// may go on with another exchange.
func (e *exchange) run() bool {
	e.reset()
	e.identify()
	if !e.find() {
		e.account()
		return !e.broken
	}
	if e.service.Cache == nil || !e.fromCache() {
		e.serve()
	}
	e.caching.end(e.status >= 500 || e.cutShort || e.fallback)
	e.account()
	return !e.broken
}

// exchanges lends exchanges to connections with something to do.
type exchanges struct{ pool sync.Pool }

func (p *exchanges) get() *exchange {
	if e, ok := p.pool.Get().(*exchange); ok {
		return e
	}
	return &exchange{}
}

func (p *exchanges) put(e *exchange) {
	e.client, e.ctx, e.member, e.mayLeave, e.guard = nil, nil, nil, false, nil
	e.own.Reset()
	p.pool.Put(e)
}

func (e *exchange) reset() {
	e.route, e.target, e.service = nil, nil, nil
	e.member, e.stream = nil, nil
	e.tried = e.tried[:0]
	e.query = pool.Query{}
	e.tries, e.retrying, e.holdBy = 0, false, 0
	e.status, e.in, e.out, e.waited, e.headAt = 0, 0, 0, 0, 0
	e.note, e.fallback, e.begun, e.broken, e.cutShort = "", false, false, false, false
	e.tryStatus, e.final, e.timedOut, e.hedgedAt = 0, false, false, 0
	e.chain.home, e.chain.next, e.chain.to, e.chain.standIn, e.chain.sent, e.chain.body, e.chain.aside = nil, 0, nil, false, false, false, nil
	e.span, e.trySpan = telemetry.Span{}, telemetry.Span{}
	e.pumping.reset()
	e.caching.reset()
}

// find chooses the route and gives the answers that need no service. It reports whether the request goes on to one.
func (e *exchange) find() bool {
	if e.request.Verb == http1.CONNECT {
		e.fail(failed{status: 405, what: "CONNECT is not offered here"})
		return false
	}
	if limit := int64(e.listener.Config.Limits.Body); limit > 0 && e.request.Length > limit {
		e.listener.Metrics.Refused(telemetry.RefusedTooLarge)
		e.fail(failed{status: 413, what: "the request's body is larger than this listener allows"})
		return false
	}
	e.route = e.listener.Route(e.request)
	switch {
	case e.route == nil:
		e.listener.Metrics.Refused(telemetry.RefusedNoRoute)
		e.fail(failed{status: 404, what: "no route matches this request"})
		return false
	case len(e.route.Targets) == 0 && e.rated():
		return false
	case e.route.Redirect != nil:
		e.redirect()
		return false
	case e.route.Respond != nil:
		e.respond(e.route.Respond)
		return false
	}
	e.target = e.route.Target()
	if e.target == nil {
		e.fail(failed{status: 503, what: "the route has no service with a weight above 0"})
		return false
	}
	e.service = e.target.Service
	e.by = after(e.start, e.target.Timeout.Total)
	e.hear()
	return !e.rated()
}

// admit asks the service for a place.
func (e *exchange) admit() bool {
	limited := e.service.Config.Limit != nil || e.service.Config.Shed != nil // without, nothing waits and no clock is read
	if limited {
		e.level()
	}
	e.ticket = pool.Ticket{Priority: e.heard.priority, Ranked: true, Client: e.remote.Addr()}
	var t instant
	if limited {
		t = now()
	}
	ctx, cancel := e.bounded()
	err := e.service.Pool.EnterAs(ctx, &e.ticket)
	cancel()
	if limited {
		e.waited += time.Duration(now() - t)
	}
	if err != nil {
		e.failAdmission(err)
		return false
	}
	return true
}

// bounded is the exchange's context with its total timeout.
func (e *exchange) bounded() (context.Context, context.CancelFunc) {
	if e.by == 0 {
		return e.ctx, func() {}
	}
	return context.WithDeadline(e.ctx, epochTime(e.by))
}

// A guard holds what an exchange waits for, mostly a stream, so that others can end the wait.
type guard struct {
	mu   sync.Mutex
	wait interface{ Interrupt() }
	cut  bool
}

// set says what that is, nil for nothing.
func (g *guard) set(s interface{ Interrupt() }) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wait = s
	if g.cut && s != nil {
		s.Interrupt()
	}
}

// interrupt ends the wait, and those that would follow.
func (g *guard) interrupt() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = true
	if g.wait != nil {
		g.wait.Interrupt()
	}
}
