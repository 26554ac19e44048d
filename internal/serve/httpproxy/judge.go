package httpproxy

import (
	"errors"
	"strconv"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/transport"
)

// judgeFailure decides after a try without an answer.
func (e *exchange) judgeFailure(err error, took time.Duration) verdict {
	var client *clientError
	if stopped := e.stopPump(); stopped != nil && !errors.Is(stopped, errUnsent) && e.pumping.readErr != nil {
		err = &clientError{leftEarly(stopped)}
	}
	e.dropStream()
	if errors.As(err, &client) {
		e.member.Done(pool.Outcome{Result: pool.Ignored, Took: took, Reason: telemetry.ClassCanceled})
		e.failClient(client.err)
		return finished
	}
	if e.left() {
		e.member.Done(pool.Outcome{Result: pool.Ignored, Took: took, Reason: telemetry.ClassCanceled})
		e.failContext()
		return finished
	}
	o := pool.Outcome{Result: pool.Failed, Took: took, Reason: classOf(err)}
	if f := tryErrorIn(err); f != nil && f.failure == failBusy {
		o = pool.Outcome{Result: pool.Ignored, Took: took, Reason: telemetry.ClassCanceled} // our bound, not its fault
	}
	e.member.Done(o)
	e.tried = append(e.tried, e.member)
	failed := tryErrorIn(err)
	if failed == nil {
		failed = &tryError{failure: failProtocol, err: err}
	}
	if reason, ok := e.wanted(failed.failure); ok && e.repeatable(failed) {
		if e.again(reason, 0) || nobodyHome(failed) && e.endure() {
			return retry
		}
	}
	e.failTry(failed)
	return finished
}

// nobodyHome says that the try did not even reach somebody who could refuse it for what it is.
func nobodyHome(f *tryError) bool {
	if f.failure != failConnect {
		return false
	}
	switch transport.Reason(f.err) {
	case "refused", "timeout", "unreachable":
		return true
	}
	return false
}

// endure lets a request that found nobody at home, wherever it was sent, wait like one for which no member can serve: nothing of it was
// processed anywhere. It reports false where its time, or the room to wait in, is used up.
func (e *exchange) endure() bool {
	limit := int64(e.service.Config.Hold.For)
	if limit <= 0 || e.tries < e.target.Retry.Attempts {
		return false
	}
	t := now()
	if e.holdBy == 0 {
		e.holdBy = t + limit
		e.service.Metrics.Count(telemetry.Held)
	}
	d := min(e.target.Retry.Backoff.Delay(e.tries), time.Duration(e.holdBy-t))
	if d <= 0 {
		e.service.Metrics.Count(telemetry.HoldTimeout)
		return false
	}
	ctx, cancel := e.bounded()
	defer cancel()
	err := e.service.Pool.Pause(ctx, e.body.held(), d)
	e.waited += time.Duration(now() - t)
	return err == nil
}

// repeatable is promise 4: a request goes out again only when it provably was not processed, or is safe to repeat.
func (e *exchange) repeatable(f *tryError) bool {
	return e.body.again() && (f.unsent || e.request.Verb.Idempotent() || e.target.Retry.Unsafe)
}

// wanted says whether the configuration retries this failure.
func (e *exchange) wanted(f failure) (telemetry.Reason, bool) {
	r := e.target.Retry
	switch f {
	case failConnect, failBusy:
		return telemetry.RetryConnect, r.Connect
	case failReset, failGone:
		return telemetry.RetryReset, r.Reset
	case failTimeout:
		return telemetry.RetryTimeout, r.Timeout
	}
	return 0, false
}

// judgeStatus decides after a try whose answer may not be the last word. decided is false where the answer is to be delivered.
func (e *exchange) judgeStatus(took time.Duration) (v verdict, decided bool) {
	r := e.target.Retry
	if !r.Status(e.response.Status) || !e.repeatable(&tryError{}) {
		return finished, false
	}
	if e.saidFinal() {
		return finished, false
	}
	pushback := e.retryAfter()
	if pushback > r.Backoff.Max && len(e.tried)+1 >= len(e.service.Config.Members) {
		return finished, false // it will not be well before the client has lost its patience, and nobody else is left to ask
	}
	if pushback > r.Backoff.Max {
		pushback = 0 // somebody else is asked
	}
	if !e.allowed(telemetry.RetryStatus) {
		return finished, false
	}
	o := judged(e.response.Status, took)
	if o.Result == pool.OK { // 429, say: the member is well, and says no
		o.Reason = telemetry.ClassOK
	}
	e.discard()
	e.member.Done(o)
	e.tried = append(e.tried, e.member)
	if !e.pause(pushback) {
		e.failTry(&tryError{failure: failTimeout})
		return finished, true
	}
	return retry, true
}

// discard drops an answer that the client will not see, keeping the connection where its rest is at hand.
func (e *exchange) discard() {
	_ = e.stopPump() // the request goes out again anyway
	for e.stream.Ready() {
		if p, err := e.stream.Next(); err != nil || p.End {
			break
		}
	}
	e.dropStream()
}

// again takes a retry out of the budget and waits its delay.
func (e *exchange) again(why telemetry.Reason, atLeast time.Duration) bool {
	return e.allowed(why) && e.pause(atLeast)
}

// allowed says whether another try may be made, and takes it out of the budget.
func (e *exchange) allowed(why telemetry.Reason) bool {
	e.endRetry()
	if e.enough(why) || e.ctx.Err() != nil || e.by != 0 && now() >= e.by {
		return false
	}
	// The budget bounds the load that retries add. A try that did not get through added none.
	if why != telemetry.RetryConnect {
		if !e.service.Pool.Budget().TryRetry() {
			e.service.Metrics.Count(telemetry.RetryDenied)
			e.final = true
			return false
		}
		e.retrying = true
	}
	e.service.Metrics.Retry(why)
	return true
}

// enough says that the request was tried often enough: here, or, as its attempt says, by who sent it. Then nobody is to try it again, lest
// retries of several layers multiply. Tries that did not get through to a member are no part of that: they added no load.
func (e *exchange) enough(why telemetry.Reason) bool {
	most := e.target.Retry.Attempts
	if why == telemetry.RetryConnect {
		return e.tries >= most
	}
	if e.heard.attempt > 1 || e.tries >= most && most > 1 {
		e.final = true
		return true
	}
	return e.tries >= most
}

// pause waits before the next try: the backoff's random delay, or what the member asked for. It reports false where time is up first.
func (e *exchange) pause(atLeast time.Duration) bool {
	d := max(e.target.Retry.Backoff.Delay(e.tries), atLeast)
	if e.by != 0 && now()+int64(d) >= e.by {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-e.ctx.Done():
		return false
	}
}

func (e *exchange) endRetry() {
	if e.retrying {
		e.retrying = false
		e.service.Pool.Budget().EndRetry()
	}
}

// retryAfter is how long the member asks to be left alone, 0 where it does not.
func (e *exchange) retryAfter() time.Duration {
	v := string(e.response.Get(http1.RetryAfter))
	if v == "" {
		return 0
	}
	if n, err := strconv.Atoi(v); err == nil && n >= 0 && n < 1<<30 {
		return time.Duration(n) * time.Second
	}
	if t, err := time.Parse(time.RFC1123, v); err == nil {
		return max(time.Until(t), 0)
	}
	return 0
}

// classOf is what metrics say of a failed try.
func classOf(err error) telemetry.Class {
	failed := tryErrorIn(err)
	if failed == nil {
		return telemetry.ClassReset
	}
	switch failed.failure {
	case failConnect:
		return telemetry.ClassConnect
	case failTimeout:
		return telemetry.ClassTimeout
	case failProtocol:
		return telemetry.ClassProtocol
	}
	return telemetry.ClassReset
}
