package httpproxy

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/resilience"
)

// statusClientGone is what is counted for a client that left before its answer. It is never sent.
const statusClientGone = 499

// FallbackHeader marks answers that a service's fallback gave in its place; its value is the kind of the fallback.
const FallbackHeader = "Backstay-Fallback"

// A failed request is answered with one line about what failed.
type failed struct {
	status     int
	what       string        // a sentence for people
	note       string        // for the access log; what, where empty
	retryAfter time.Duration // when trying again may help, 0 for no word about it
	close      bool          // the connection cannot go on
	final      bool          // trying again is no use: it was done, or adds to what is too much already
	unsent     bool          // no member got to see anything of the request
}

// fail answers a request that got no answer from a member: with the service's fallback where it has one, else with an error page.
func (e *exchange) fail(f failed) {
	e.note = f.note
	if e.note == "" {
		e.note = f.what
	}
	if e.fallBack(&f) {
		return
	}
	if e.grpc() {
		e.failGRPC(f)
		return
	}
	e.page, e.edit = e.page[:0], e.edit[:0]
	if accept := e.request.Get(http1.Accept); asksForJSON(accept) {
		e.edit = http1.AppendField(e.edit, "Content-Type", "application/json")
		e.page = fmt.Appendf(e.page, `{"status":%d,"error":%q,"request_id":%q}`+"\n", f.status, f.what, e.id)
	} else {
		e.edit = http1.AppendField(e.edit, "Content-Type", "text/plain; charset=utf-8")
		e.page = fmt.Appendf(e.page, "%d %s: %s (request %s)\n", f.status, http1.StatusText(f.status), f.what, e.id)
	}
	e.edit = http1.AppendField(e.edit, "X-Request-Id", e.id)
	e.edit = http1.AppendField(e.edit, "Cache-Control", "no-store")
	if f.status == 405 {
		e.edit = http1.AppendField(e.edit, "Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	}
	if f.retryAfter > 0 {
		e.edit = http1.AppendIntField(e.edit, "Retry-After", int64((f.retryAfter+time.Second-1)/time.Second))
	}
	if f.final || e.final && f.status >= 500 {
		e.edit = http1.AppendField(e.edit, RetryHeader, "no")
	}
	e.broken = e.broken || f.close
	e.reply(f.status, e.page)
}

// asksForJSON holds where application/json is named before text/html or anything.
func asksForJSON(accept []byte) bool {
	return http1.HasToken(accept, "application/json") || http1.HasToken(accept, "application/problem+json")
}

// respond gives a fixed answer.
func (e *exchange) respond(r *snapshot.Respond) {
	e.edit = e.edit[:0]
	for i := range r.Fields {
		e.edit = http1.AppendField(e.edit, r.Fields[i].Name, r.Fields[i].Value)
	}
	if e.fallback {
		e.edit = http1.AppendField(e.edit, FallbackHeader, "respond")
	}
	e.appendEdits()
	e.reply(r.Status, r.Body)
}

func (e *exchange) redirect() {
	e.edit = append(e.edit[:0], "Location: "...)
	e.edit = append(e.route.Redirect.AppendLocation(e.edit, e.request, e.secure), '\r', '\n')
	e.appendEdits()
	e.reply(e.route.Redirect.Status(), nil)
}

// reply writes an answer of our own; e.edit has its field lines.
func (e *exchange) reply(status int, body []byte) {
	e.status, e.begun = status, true
	e.answer = answer{Status: status, Extra: e.edit, Length: int64(len(body))}
	if e.request.Verb == http1.HEAD || status == 204 || status == 304 {
		body = nil
	}
	if err := e.client.Answer(&e.answer); err != nil {
		e.broken = true
		return
	}
	e.out += int64(len(body))
	if err := e.client.Write(piece{Data: body, End: true}); err != nil {
		e.broken = true
	}
}

func (e *exchange) failBreaker() {
	wait := time.Second
	if b := e.service.Pool.Breaker(); b != nil {
		wait = max(wait, b.RetryAfter())
	}
	e.fail(failed{status: 503, retryAfter: wait, note: "breaker open",
		what: "service " + e.service.Name + " keeps failing and is given a rest"})
}

func (e *exchange) failNoMember(why error, held bool) {
	e.service.Metrics.Count(telemetry.NoMember)
	what := "no member of service " + e.service.Name + " can serve at the moment"
	if errors.Is(why, pool.ErrBusy) {
		what = "every member of service " + e.service.Name + " has as much work as it may have"
	}
	if held {
		what += ", and none came back while the request was held"
	}
	e.fail(failed{status: 503, retryAfter: time.Second, what: what})
}

// failHeld ends an exchange that waited for a member.
func (e *exchange) failHeld(err, why error) {
	if !errors.Is(err, resilience.ErrHoldFull) && !errors.Is(err, resilience.ErrHoldTimeout) {
		e.failContext()
		return
	}
	e.failNoMember(why, errors.Is(err, resilience.ErrHoldTimeout))
}

// failContext ends an exchange whose context is done: its client left, or its time is up.
func (e *exchange) failContext() {
	if e.ctx.Err() != nil {
		e.status, e.broken, e.note = statusClientGone, true, "client left"
		e.client.Abort()
		return
	}
	e.fail(failed{status: 504, what: "service " + e.name() + " did not answer within the time for the whole request"})
}

// failTry tells the client of the last try's failure.
func (e *exchange) failTry(t *tryError) {
	if e.ctx.Err() != nil {
		e.failContext()
		return
	}
	f := failed{status: 502, note: t.Error(), unsent: t.unsent}
	e.timedOut = t.failure == failTimeout
	switch t.failure {
	case failConnect:
		f.what = "service " + e.name() + " could not be reached"
	case failTimeout:
		f.status = 504
		f.what = "service " + e.name() + " did not answer in time"
	case failBusy:
		f.status, f.retryAfter = 503, time.Second
		f.what = "every connection to service " + e.name() + " is in use"
	case failProtocol:
		f.what = "service " + e.name() + " gave an answer that is not valid HTTP"
	default:
		f.what = "service " + e.name() + " broke the connection off before it answered"
	}
	if e.member != nil {
		f.note = "member " + e.member.Name() + ": " + f.note
	}
	e.fail(f)
}

func (e *exchange) name() string {
	if e.service == nil {
		return ""
	}
	return e.service.Name
}

// errTooLarge says that a body without a length turned out larger than the listener allows.
var errTooLarge = errors.New("the request's body is larger than this listener allows")

// failClient tells a client what is wrong with the rest of its request, where it can still hear.
func (e *exchange) failClient(err error) {
	var bad *http1.Error
	f := failed{close: true}
	switch {
	case errors.Is(err, errTooLarge):
		e.listener.Metrics.Refused(telemetry.RefusedTooLarge)
		f.status, f.what = 413, err.Error()
	case errors.As(err, &bad):
		e.listener.Metrics.Refused(telemetry.RefusedBadRequest)
		f.status, f.what = bad.Status, bad.Reason
	case errors.Is(err, os.ErrDeadlineExceeded):
		e.listener.Metrics.Refused(telemetry.RefusedTimeout)
		f.status, f.what = 408, "the request's body did not arrive in time"
	default:
		e.status, e.broken, e.note = statusClientGone, true, "client left"
		e.client.Abort()
		return
	}
	e.fail(f)
}

// reason is a status with its phrase, for notes.
func reason(status int) string { return strconv.Itoa(status) + " " + http1.StatusText(status) }
