package httpproxy

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/resilience"
)

// verdict is what becomes of the exchange after a try.
type verdict uint8

const (
	finished verdict = iota // the client has its answer, or is gone
	retry                   // another member is asked
)

// forward tries one member after another until the client has an answer.
func (e *exchange) forward() {
	permit, err := e.service.Pool.Admit()
	if err != nil {
		e.failBreaker()
		return
	}
	if !e.chain.body {
		e.body.reset(e.client, e.request.Length, e.target.Retry.Body)
		e.chain.body = true
	}
	e.prepare()
	e.askConditionally()
	for e.pick() {
		v := e.try()
		e.endTry()
		if v == finished {
			break
		}
	}
	e.endRetry()
	e.in = e.body.read
	if e.route.Mirror != nil && !e.chain.standIn {
		e.mirror()
	}
	permit.Done(e.outcome(), time.Duration(e.headAt-e.start)-e.waited)
}

// outcome is what the service's breaker learns.
func (e *exchange) outcome() resilience.Outcome {
	switch {
	case e.status == statusClientGone || e.status < 500 && !e.begun:
		return resilience.Ignored
	case e.status >= 500 || e.cutShort || e.fallback && !e.chain.standIn:
		return resilience.Failure
	}
	return resilience.Success
}

// pick chooses the member to try next, waiting for one where none can serve. Where it reports false, the client has been answered.
func (e *exchange) pick() bool {
	e.query.Tried = e.tried
	var err error
	e.member, err = e.service.Pool.Pick(&e.query)
	if err == nil {
		return true
	}
	return e.hold(err)
}

// hold waits until a member can serve.
func (e *exchange) hold(why error) bool {
	t := now()
	limit := time.Duration(e.service.Config.Hold.For)
	ctx, cancel := e.bounded()
	defer cancel()
	held, before := false, e.waited
	for {
		if limit <= 0 || time.Duration(now()-t) >= limit {
			e.failNoMember(why, held)
			return false
		}
		held = true
		err := e.service.Pool.Hold(ctx, e.body.held())
		e.waited = before + time.Duration(now()-t)
		if err != nil {
			e.failHeld(err, why)
			return false
		}
		if e.member, err = e.service.Pool.Pick(&e.query); err == nil {
			return true
		}
		why = err
	}
}

// try sends the request to the member that was picked.
func (e *exchange) try() verdict {
	e.tries++
	began := e.start
	if e.tries > 1 || e.waited > 0 {
		began = now()
	}
	err := e.ask1(began, false)
	if f := tryErrorIn(err); f != nil && f.stale && e.repeatable(f) {
		// The member had closed the kept connection: that says nothing about it, and is not a try.
		_ = e.stopPump() // whatever it says, the body begins again
		e.dropStream()
		err = e.ask1(began, true)
	}
	e.headAt = now()
	if e.hedgedAt != 0 {
		began, e.hedgedAt = e.hedgedAt, 0 // another member's answer counts
	}
	took := time.Duration(e.headAt - began)
	e.tryStatus = e.response.Status
	if err != nil {
		e.tryStatus = 0
		return e.judgeFailure(err, took)
	}
	if v, decided := e.judgeStatus(took); decided {
		return v
	}
	e.deliver(took)
	return finished
}

// ask1 opens a stream to the member, sends the request and waits for the head of the final answer.
func (e *exchange) ask1(began instant, fresh bool) error {
	var err error
	if e.stream, err = e.open(began, fresh); err != nil {
		return err
	}
	e.watch()
	e.guard.set(e.stream)
	e.beginTry(began)
	e.tellTry(began)
	e.chain.sent = true
	e.body.rewind()
	first := piece{}
	if e.body.Ready() {
		if first, err = e.body.Next(); err != nil {
			return &clientError{err}
		}
	}
	if err := e.stream.Send(&e.ask, first); err != nil {
		return err
	}
	if !first.End {
		e.startPump()
	}
	if e.hedgeable() {
		return e.receiveHedged(began)
	}
	return e.receive(began)
}

// receive waits for the final head; interim ones are passed on.
func (e *exchange) receive(began instant) error {
	patience := e.target.Timeout.FirstByte
	by := earlier(after(began, patience), e.by)
	for {
		err := e.stream.Receive(&e.response, by)
		if err != nil {
			if by = e.extended(err, patience); by != 0 {
				continue
			}
			return e.blame(err)
		}
		status := e.response.Status
		if status >= 200 || status == 101 {
			return nil
		}
		if err := e.interim(); err != nil {
			return &clientError{err}
		}
	}
}

// interim passes a 1xx answer on to clients that understand it; 100 only to those that wait for it.
func (e *exchange) interim() error {
	if e.request.Minor == 0 || e.response.Status == 100 && !e.request.Expect {
		return nil
	}
	e.answer = answer{Response: &e.response, Status: e.response.Status}
	return e.client.Answer(&e.answer)
}

// deliver passes the answer on.
func (e *exchange) deliver(took time.Duration) {
	if e.response.Status == 101 {
		e.upgrade(took)
		return
	}
	if e.learn(took) || e.response.Status >= 500 && e.degrade(judged(e.response.Status, took)) {
		return
	}
	e.begun = true
	e.status = e.response.Status
	e.settlePump()
	e.answer = answer{Response: &e.response, Status: e.status, Length: e.response.Length, Extra: e.answerFields(), Early: e.pumping.running}
	o := judged(e.response.Status, took)
	if err := e.client.Answer(&e.answer); err != nil {
		e.clientGone(o)
		return
	}
	e.relay(o)
}

// judged is the outcome of a try that was answered with the status, as far as the member is concerned.
func judged(status int, took time.Duration) pool.Outcome {
	o := pool.Outcome{Result: pool.OK, Took: took, Reason: telemetry.ClassOK}
	if status >= 500 && status != 501 && status != 505 {
		o.Result, o.Reason = pool.Failed, telemetry.ClassStatus
	}
	return o
}

// relay passes the body of the answer on, piece by piece.
func (e *exchange) relay(o pool.Outcome) {
	headLeft := !e.stream.Ready() // the head does not wait for a body that may take its time
	if headLeft {
		if err := e.client.Write(piece{}); err != nil {
			e.clientGone(o)
			return
		}
	}
	for {
		p, err := e.stream.Next()
		switch {
		case err != nil && !headLeft && !e.left():
			e.takeBack(o, err)
			return
		case err != nil:
			e.memberBroke(o, err)
			return
		}
		headLeft = true
		if e.caching.writer != nil {
			e.caching.store(p)
		}
		e.out += int64(len(p.Data))
		if err := e.client.Write(p); err != nil {
			e.clientGone(o)
			return
		}
		if p.End {
			break
		}
		if !o.Answered && o.Result == pool.OK {
			e.member.Answered(o.Took)
			o.Answered = true
		}
	}
	if e.stopPump() != nil {
		e.broken = true // the member answered without the rest of the body; the client may still be sending it
	}
	e.dropStream()
	e.member.Done(o)
}

// takeBack ends an exchange whose answer turned out to be none before anything of it had gone to the client: that gets the failure's own.
func (e *exchange) takeBack(o pool.Outcome, err error) {
	_ = e.stopPump()
	e.dropStream()
	e.caching.discard()
	o.Result, o.Reason = pool.Failed, classOf(err)
	e.member.Done(o)
	failed := tryErrorIn(err)
	if failed == nil {
		failed = &tryError{failure: failProtocol, err: err}
	}
	e.begun = false
	e.failTry(failed)
}

// memberBroke ends an exchange whose answer broke off: the client must not take what it has for the whole.
func (e *exchange) memberBroke(o pool.Outcome, err error) {
	if e.left() {
		_ = e.breakGRPC("the deadline has passed") // else the stream is reset
		e.clientGone(o)
		return
	}
	e.broken, e.cutShort, e.note = true, true, "member: "+err.Error()
	if !e.breakGRPC("the member of service " + e.name() + " broke its answer off") {
		e.client.Abort()
	}
	_ = e.stopPump() // the answer is over either way
	e.dropStream()
	o.Result, o.Reason = pool.Failed, classOf(err)
	e.member.Done(o)
}

// clientGone ends an exchange whose client does not take its answer.
func (e *exchange) clientGone(o pool.Outcome) {
	e.broken, e.note = true, "client left"
	e.client.Abort()
	_ = e.stopPump() // the answer is over either way
	e.dropStream()
	if o.Result == pool.OK && !o.Answered { // its head came, and well
		o.Reason = telemetry.ClassOK
	}
	e.member.Done(o)
}

// dropStream gives the stream back, or the connection up where the answer was not read to its end.
func (e *exchange) dropStream() {
	if e.stream != nil {
		if e.unwatch != nil {
			e.unwatch()
			e.unwatch = nil
		}
		e.guard.set(nil)
		e.stream.Close()
		e.stream = nil
	}
}

// watch has the stream interrupted when the client leaves. Clients of HTTP/1 are not watched: they are seen to be gone when they are written to.
func (e *exchange) watch() {
	if !e.mayLeave {
		return
	}
	s, done := e.stream, make(chan struct{})
	stop := context.AfterFunc(e.ctx, func() {
		defer close(done)
		s.Interrupt()
	})
	e.unwatch = func() {
		if !stop() {
			<-done
		}
	}
}

// open opens a stream to the member that was picked.
func (e *exchange) open(t instant, fresh bool) (stream, error) {
	o := opening{
		service: e.service, client: e.remote, local: e.local, fresh: fresh, careful: !e.request.Verb.Idempotent(),
		connect: e.target.Timeout.Connect, idle: e.target.Timeout.Idle, by: e.by,
	}
	return e.server.open(e.ctx, e.member, &o, t)
}

// A clientError is a failure of the client's side while a try was under way.
type clientError struct{ err error }

// Error is the cause's text.
func (c *clientError) Error() string { return "client: " + c.err.Error() }

// Unwrap is the cause.
func (c *clientError) Unwrap() error { return c.err }

var errClientLeft = errors.New("the client left before its request was complete")

func leftEarly(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errClientLeft
	}
	return err
}
