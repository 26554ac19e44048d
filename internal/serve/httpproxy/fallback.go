package httpproxy

import (
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/cache"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

// chaining is how far an exchange is in the fallbacks of its service.
type chaining struct {
	home    *snapshot.Service // whose fallbacks are asked; nil while none was
	next    int               // which of them is asked next
	to      *snapshot.Service // the service that is about to be asked in its place
	standIn bool              // the exchange's service is such a one
	sent    bool              // something of the request may have been processed
	body    bool              // its body was begun
	target  snapshot.Target   // the stand-in's
	aside   *cache.Cache      // the home service's, which learns nothing of a stand-in
}

// serve asks the service, and then, as long as that fails, those that its fallbacks name.
func (e *exchange) serve() {
	e.askService()
	for e.chain.to != nil {
		e.fallTo()
	}
}

func (e *exchange) askService() {
	if e.spared() || e.tooLate() || !e.admit() {
		return
	}
	e.forward()
	e.service.Pool.LeaveAs(&e.ticket, e.leaving())
}

// fallBack answers in the place of a service that failed, or has another service asked. It reports false where there is nothing left.
func (e *exchange) fallBack(f *failed) bool {
	c := &e.chain
	if e.service == nil || f.status < 500 || e.begun || e.broken {
		return false
	}
	if c.aside != nil {
		e.caching.cache, c.aside = c.aside, nil
	}
	if c.home == nil {
		c.home = e.service
		if !c.home.StaleLater && e.staleInstead() {
			return true
		}
	}
	for c.next < len(c.home.Fallbacks) {
		fb := &c.home.Fallbacks[c.next]
		c.next++
		switch {
		case fb.Cache:
			if c.home.StaleLater && e.staleInstead() {
				c.standIn = false
				return true
			}
		case fb.Service != nil:
			if e.mayFallTo(f) {
				c.to, e.status, e.fallback = fb.Service, f.status, true
				return true
			}
		default:
			c.home.Metrics.Count(telemetry.Fallback)
			e.fallback, c.standIn, e.note = true, false, "fallback: "+e.note
			e.respond(fb.Respond)
			return true
		}
	}
	if len(c.home.Fallbacks) > 0 {
		c.home.Metrics.Count(telemetry.FallbackFailed)
		f.what += ", and no fallback has an answer"
	}
	return false
}

// mayFallTo says whether the request can be sent to another service: promise 4 holds between services too.
func (e *exchange) mayFallTo(f *failed) bool {
	safe := e.request.Verb.Idempotent() || !e.chain.sent || f.unsent || e.target.Retry.Unsafe
	return safe && (!e.chain.body || e.body.again()) && e.ctx.Err() == nil && (e.by == 0 || now() < e.by)
}

// fallTo asks the service that a fallback names.
func (e *exchange) fallTo() {
	c, s := &e.chain, e.chain.to
	metrics := e.target.Metrics // the route's, and the service's that was meant
	c.target = snapshot.Target{Service: s, Timeout: s.Timeout, Retry: s.Retry, Metrics: metrics}
	c.to, c.standIn = nil, true
	e.note = "fallback: service " + s.Name + ": " + e.note
	e.target, e.service, e.member = &c.target, s, nil
	e.tried, e.query = e.tried[:0], pool.Query{}
	e.tries, e.holdBy, e.headAt, e.tryStatus = 0, 0, 0, 0
	c.aside, e.caching.cache = e.caching.cache, nil
	if e.admit() {
		e.forward()
		e.service.Pool.LeaveAs(&e.ticket, e.leaving())
	}
	if c.aside != nil && c.to == nil { // those who wait for its answer are told
		e.caching.cache, c.aside = c.aside, nil
	}
}

// degrade gives a fallback in the place of a service's own answer where that is an error. It reports false where the answer stays: where there
// is no fallback, and where the request may have changed something, as the service's word about what became of that counts.
func (e *exchange) degrade(o pool.Outcome) bool {
	status := e.response.Status
	if status != 500 && status != 502 && status != 503 && status != 504 || !e.request.Verb.Safe() || !e.fallsBack() {
		return false
	}
	e.discard()
	e.member.Done(o)
	e.fail(failed{
		status: status, final: e.final || e.saidFinal(), note: "member " + e.member.Name() + ": answered " + reason(status),
		what: "service " + e.service.Name + " answered " + reason(status),
	})
	return true
}

// fallsBack says whether something is left in the chain of fallbacks that can answer.
func (e *exchange) fallsBack() bool {
	home, next := e.chain.home, e.chain.next
	if home == nil {
		home = e.service
	}
	for i := next; i < len(home.Fallbacks); i++ {
		switch fb := &home.Fallbacks[i]; {
		case fb.Respond != nil:
			return true
		case fb.Service != nil:
			if e.mayFallTo(&failed{}) {
				return true
			}
		case home.StaleLater: // else it was asked already
			k := e.caching.cache
			if e.chain.aside != nil {
				k = e.chain.aside
			}
			if k != nil && k.OnError(&e.caching.query) != nil {
				return true
			}
		}
	}
	return false
}

// spared answers in the place of a service that a degradation mode spares.
func (e *exchange) spared() bool {
	if len(e.service.Spares) == 0 {
		return false
	}
	spare := e.service.Spared()
	if spare == nil {
		return false
	}
	e.service.Metrics.Count(telemetry.Spared)
	note := "mode " + spare.Mode.Name()
	if spare.Respond != nil {
		e.fallback, e.note = true, note
		e.service.Metrics.Count(telemetry.Fallback)
		e.respond(spare.Respond)
		return true
	}
	e.fail(failed{status: 503, note: note, final: true, unsent: true, what: "service " + e.service.Name + " is spared at the moment"})
	return true
}
