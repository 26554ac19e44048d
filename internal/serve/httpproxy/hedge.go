package httpproxy

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/pool"
)

// A hedge asks further members, one after another, while those before take unusually long. It does so in a timer's goroutines; what they need
// of the exchange stays as it is until the exchange has settled with them.
type hedge struct {
	e       *exchange
	delay   time.Duration
	began   instant         // when the first was asked
	ctx     context.Context // ends what is opened for the others
	request []byte
	running sync.WaitGroup // goroutines that touch anything

	mu      sync.Mutex
	timer   *time.Timer
	tries   []*hedgeTry
	atWork  int           // of them, without an answer or failure
	over    bool          // it is decided: what comes now is too late
	won     *hedgeTry     // it has an answer, and the first was interrupted
	settled chan struct{} // made by the exchange when it waits: closed when one has won or none is at work
}

// A hedgeTry is one further member with what it is asked.
type hedgeTry struct {
	member *pool.Member
	began  instant
	own    http1.Request
	ask    ask
	answer http1.Response
	stream stream // under the hedge's mutex while the try is at work
	err    error  // why it failed by itself
}

// errStatus says that an answer is none to win with: another may be better.
var errStatus = errors.New("an answer that counts as a failure")

// hedgeable says whether the request may be made twice at once: it has no body, is safe to repeat, and there is somebody else to ask.
func (e *exchange) hedgeable() bool {
	return e.service.Config.Hedge != nil && e.tries == 1 && e.request.Length == 0 && e.request.Upgrade == nil &&
		e.request.Verb.Idempotent() && e.heard.attempt == 1 && !e.grpc()
}

// receiveHedged is receive with further members asked when the first takes long.
func (e *exchange) receiveHedged(began instant) error {
	delay, known := e.service.Pool.HedgeDelay()
	if !known {
		return e.receive(began)
	}
	h := &hedge{e: e, delay: delay, began: began}
	var cancel context.CancelFunc
	h.ctx, cancel = context.WithCancel(e.ctx)
	defer cancel()
	h.request = appendAsk(nil, &e.ask) // the exchange's own may not be read by two
	h.mu.Lock()
	h.timer = time.AfterFunc(delay, h.further)
	h.mu.Unlock()
	return h.settle(e.receive(began), cancel)
}

// further asks one further member.
func (h *hedge) further() {
	t := h.begin()
	if t == nil {
		return
	}
	defer h.running.Done()
	err := h.try(t, false)
	if f := tryErrorIn(err); f != nil && f.stale && h.again(t) { // a kept connection that the member had closed says nothing about it
		err = h.try(t, true)
	}
	h.e.service.Pool.Budget().EndRetry()
	h.end(t, err)
}

// begin picks a member that was not asked yet and has the next one follow; nil where nobody is to be asked any more.
func (h *hedge) begin() *hedgeTry {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over { // the exchange may be another request's by now
		return nil
	}
	service := h.e.service
	if !service.Pool.Budget().TryRetry() {
		return nil
	}
	asked := []*pool.Member{h.e.member}
	for _, t := range h.tries {
		asked = append(asked, t.member)
	}
	m, err := service.Pool.Pick(&pool.Query{Hash: h.e.query.Hash, HasHash: h.e.query.HasHash, Tried: asked})
	if err == nil && slices.ContainsFunc(asked, func(a *pool.Member) bool { return a.Address() == m.Address() }) { // nobody else is there
		m.Done(pool.Outcome{Result: pool.Ignored, Reason: telemetry.ClassCanceled})
		err = pool.ErrNoMember
	}
	if err != nil {
		service.Pool.Budget().EndRetry()
		return nil
	}
	service.Metrics.Count(telemetry.Hedged)
	t := &hedgeTry{member: m, began: now()}
	h.tries = append(h.tries, t)
	h.atWork++
	h.running.Add(1)
	if len(h.tries) < service.Config.Hedge.Max {
		h.timer.Reset(h.delay)
	}
	return t
}

// try asks the member until it has a final answer.
func (h *hedge) try(t *hedgeTry, fresh bool) error {
	e := h.e
	if n, err := t.own.Parse(h.request, http1.Limits{Head: len(h.request), Fields: 1 << 20}); err != nil || n == 0 {
		return &tryError{failure: failProtocol, unsent: true, err: err}
	}
	by := earlier(after(t.began, e.target.Timeout.FirstByte), e.by)
	st, err := e.server.open(h.ctx, t.member, &opening{
		service: e.service, client: e.remote, local: e.local, fresh: fresh, connect: e.target.Timeout.Connect, idle: e.target.Timeout.Idle, by: by,
	}, now())
	if err != nil {
		return err
	}
	h.mu.Lock()
	t.stream = st
	over := h.over
	h.mu.Unlock()
	if over {
		return context.Canceled
	}
	t.ask = ask{Request: &t.own, Path: t.own.Path, Query: t.own.Query, Secure: e.secure}
	if err := st.Send(&t.ask, piece{End: true}); err != nil {
		return err
	}
	for {
		if err := st.Receive(&t.answer, by); err != nil {
			return err
		}
		switch s := t.answer.Status; {
		case s == 101:
			return &tryError{failure: failProtocol, err: errNotAsked}
		case s >= 500 || e.target.Retry.Status(s):
			return errStatus
		case s >= 200:
			return nil
		}
	}
}

// again gives up the stream that a try has used, and says whether it may have another.
func (h *hedge) again(t *hedgeTry) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false
	}
	if t.stream != nil {
		t.stream.Close()
		t.stream = nil
	}
	return true
}

// end notes how a try has ended: with its answer the others are of no use.
func (h *hedge) end(t *hedgeTry, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.atWork--
	if h.over {
		return
	}
	if t.err = err; err == nil {
		h.won = t
		h.e.stream.Interrupt()
	}
	h.over = h.won != nil || h.atWork == 0 && h.settled != nil
	if h.over && h.settled != nil {
		close(h.settled)
	}
}

// Interrupt ends the wait for the further members.
func (h *hedge) Interrupt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.over && h.settled != nil {
		h.over = true
		close(h.settled)
	}
}

// settle decides whose answer counts, once the first has one or failed.
func (h *hedge) settle(first error, cancel func()) error {
	e := h.e
	h.mu.Lock()
	if first != nil && h.won == nil && h.atWork > 0 {
		h.settled = make(chan struct{})
		h.mu.Unlock()
		e.guard.set(h)
		select {
		case <-h.settled:
		case <-e.ctx.Done():
		}
		h.mu.Lock()
	}
	h.over = true
	h.timer.Stop()
	for _, t := range h.tries {
		if t != h.won && t.stream != nil {
			t.stream.Interrupt()
		}
	}
	h.mu.Unlock()
	cancel()
	h.running.Wait()
	for _, t := range h.tries {
		if t != h.won {
			h.lose(t)
		}
	}
	if h.won == nil {
		return first
	}
	h.win()
	return nil
}

// lose lets go of a further member.
func (h *hedge) lose(t *hedgeTry) {
	if t.stream != nil {
		t.stream.Close()
	}
	o := pool.Outcome{Result: pool.Ignored, Took: time.Duration(now() - t.began), Reason: telemetry.ClassCanceled}
	switch {
	case t.err == nil: // it was too late
		t.member.Done(o)
		return
	case errors.Is(t.err, errStatus):
		o = judged(t.answer.Status, o.Took)
	default:
		o.Result, o.Reason = pool.Failed, classOf(t.err)
	}
	h.e.tried = append(h.e.tried, t.member)
	t.member.Done(o)
}

// win makes a further member's answer the exchange's.
func (h *hedge) win() {
	e := h.e
	e.dropStream()
	e.member.Done(pool.Outcome{Result: pool.Ignored, Took: time.Duration(now() - h.began), Reason: telemetry.ClassCanceled})
	e.service.Metrics.Count(telemetry.HedgeWon)
	e.tried = append(e.tried, e.member)
	e.member, e.stream, e.response = h.won.member, h.won.stream, h.won.answer
	e.hedgedAt = h.won.began
	e.tries += len(h.tries)
	e.watch()
	e.guard.set(e.stream)
}
