package httpproxy

import (
	"context"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/pool"
)

// A hedge is a second member that is asked while the first takes unusually long. It runs in a timer's goroutine; what it needs of the exchange
// stays as it is until the exchange has settled with it.
type hedge struct {
	e       *exchange
	timer   *time.Timer
	ended   chan struct{} // closed when its goroutine touches nothing any more
	cancel  context.CancelFunc
	ctx     context.Context
	by      instant
	began   instant
	answer  http1.Response
	member  *pool.Member
	ask     ask
	request []byte

	mu     sync.Mutex
	begun  bool
	over   bool // it comes too late
	won    bool // it has an answer, and the first was interrupted
	stream stream
	err    error
}

// hedgeable says whether the request may be made twice at once: it has no body, is safe to repeat, and there is somebody else to ask.
func (e *exchange) hedgeable() bool {
	return e.service.Config.Hedge != nil && e.tries == 1 && e.request.Length == 0 && e.request.Upgrade == nil &&
		e.request.Verb.Idempotent() && e.heard.attempt == 1 && !e.grpc()
}

// receiveHedged is receive with a second member asked when the first takes long.
func (e *exchange) receiveHedged(began instant) error {
	delay, known := e.service.Pool.HedgeDelay()
	if !known {
		return e.receive(began)
	}
	h := &hedge{e: e, ended: make(chan struct{}), by: earlier(after(now(), e.target.Timeout.FirstByte+delay), e.by)}
	h.ctx, h.cancel = context.WithCancel(e.ctx)
	defer h.cancel()
	h.request = appendAsk(nil, &e.ask) // the exchange's own may not be read by two
	h.timer = time.AfterFunc(delay, h.run)
	return h.settle(e.receive(began))
}

// run asks the second member.
func (h *hedge) run() {
	e := h.e
	h.mu.Lock()
	h.begun = !h.over && e.service.Pool.Budget().TryRetry()
	begun := h.begun
	h.mu.Unlock()
	if !begun {
		return
	}
	defer close(h.ended)
	defer e.service.Pool.Budget().EndRetry()
	tried := []*pool.Member{e.member}
	m, err := e.service.Pool.Pick(&pool.Query{Tried: tried})
	switch {
	case err != nil:
		h.err = err
		return
	case m.Address() == e.member.Address(): // nobody else is there
		m.Done(pool.Outcome{Result: pool.Ignored, Reason: telemetry.ClassCanceled})
		h.err = pool.ErrNoMember
		return
	}
	e.service.Metrics.Count(telemetry.Hedged)
	h.member, h.began = m, now()
	h.err = h.try()
	h.mu.Lock()
	if h.err == nil && !h.over {
		h.won = true
		e.stream.Interrupt()
	}
	h.mu.Unlock()
}

func (h *hedge) try() error {
	var own http1.Request
	if n, err := own.Parse(h.request, http1.Limits{Head: len(h.request), Fields: 1 << 20}); err != nil || n == 0 {
		return &tryError{failure: failProtocol, unsent: true, err: err}
	}
	e := h.e
	st, err := e.server.open(h.ctx, h.member, &opening{
		service: e.service, client: e.remote, local: e.local, connect: e.target.Timeout.Connect, idle: e.target.Timeout.Idle, by: h.by,
	}, h.began)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.stream = st
	over := h.over
	h.mu.Unlock()
	if over {
		return context.Canceled
	}
	h.ask = ask{Request: &own, Path: own.Path, Query: own.Query, Secure: e.secure}
	if err := st.Send(&h.ask, piece{End: true}); err != nil {
		return err
	}
	for {
		if err := st.Receive(&h.answer, h.by); err != nil {
			return err
		}
		if h.answer.Status == 101 {
			return &tryError{failure: failProtocol, err: errNotAsked}
		}
		if h.answer.Status >= 200 {
			return nil
		}
	}
}

// settle decides whose answer counts, once the first has one or failed.
func (h *hedge) settle(first error) error {
	h.timer.Stop()
	e := h.e
	h.mu.Lock()
	if !h.begun {
		h.over = true
		h.mu.Unlock()
		return first
	}
	if first == nil && !h.won || e.ctx.Err() != nil {
		h.over = true
		h.cancel()
		if h.stream != nil {
			h.stream.Interrupt()
		}
	}
	h.mu.Unlock()
	<-h.ended
	if h.err != nil || !h.won {
		h.lose()
		return first
	}
	h.win()
	return nil
}

// lose lets go of the second member.
func (h *hedge) lose() {
	if h.stream != nil {
		h.stream.Close()
	}
	if h.member == nil {
		return
	}
	o := pool.Outcome{Result: pool.Ignored, Took: time.Duration(now() - h.began), Reason: telemetry.ClassCanceled}
	if h.err != nil && !h.over {
		o = pool.Outcome{Result: pool.Failed, Took: o.Took, Reason: classOf(h.err)}
	}
	h.member.Done(o)
}

// win makes the second member's answer the exchange's.
func (h *hedge) win() {
	e := h.e
	e.dropStream()
	e.member.Done(pool.Outcome{Result: pool.Ignored, Took: time.Duration(now() - h.began), Reason: telemetry.ClassCanceled})
	e.service.Metrics.Count(telemetry.HedgeWon)
	e.tried = append(e.tried, e.member)
	e.member, e.stream, e.response = h.member, h.stream, h.answer
	e.hedgedAt = h.began
	e.tries++
	e.watch()
	e.guard.set(e.stream)
}
