package httpproxy

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/protect"
	"github.com/backstay/backstay/internal/serve/snapshot"
	"github.com/backstay/backstay/resilience"
)

// What processes tell each other about a request; package httpx of the resilience library says the same to applications.
const (
	AttemptHeader  = "Backstay-Attempt"        // which try this is, where it is not the first: not to be multiplied by further ones
	TimeoutHeader  = "Backstay-Timeout"        // after how many milliseconds the answer is of no use
	PriorityHeader = "Backstay-Priority"       // how much it matters: class and level
	TokenHeader    = "Backstay-Priority-Token" // the same, signed
	DegradedHeader = "Backstay-Degraded"       // the degradation modes that are on
	RetryHeader    = "Backstay-Retry"          // in an answer: no, as it was tried again in vain already
)

// hearing is what the client, or a proxy in front, says about its request.
type hearing struct {
	attempt  int     // 1 for the first
	by       instant // when its answer is of no use any more; 0 is never
	priority resilience.Priority
	ranked   bool // priority was said, by the configuration or the client
	leveled  bool // with a level
}

// hear takes what the client says about its request. Attempts are believed of anybody, as they can only cost the client retries of its own; the
// rest of those in front that are trusted. What is not believed does not go on.
func (e *exchange) hear() {
	h := &e.heard
	*h = hearing{attempt: 1, priority: e.route.Priority, ranked: e.route.Ranked}
	const prefix = "Backstay-"
	for i := range e.request.Fields {
		f := &e.request.Fields[i]
		if f.ID == http1.Unknown && len(f.Name) > len(prefix) && f.Name[0]|0x20 == 'b' && http1.EqualFold(f.Name[:len(prefix)], prefix) {
			e.hearField(f)
		}
	}
	if e.trusted && e.mayLeave {
		h.by = earlier(h.by, e.deadline())
	}
	e.by = earlier(e.by, h.by)
}

func (e *exchange) hearField(f *http1.Field) {
	h := &e.heard
	switch {
	case http1.EqualFold(f.Name, AttemptHeader):
		f.Drop = true
		if n, err := strconv.Atoi(string(f.Value)); err == nil && n > 1 && n < 1000 {
			h.attempt = n
		}
	case http1.EqualFold(f.Name, PriorityHeader):
		f.Drop = true
		if p, leveled, ok := parsePriority(f.Value); ok && e.trusted {
			h.priority, h.ranked, h.leveled = p, true, leveled
		}
	case http1.EqualFold(f.Name, TokenHeader): // goes on: it proves the same to those behind
		if e.listener.Tokens == nil {
			return
		}
		if p, err := e.listener.Tokens.Verify(string(f.Value)); err == nil {
			h.priority, h.ranked, h.leveled = p, true, true
		}
	case http1.EqualFold(f.Name, TimeoutHeader):
		f.Drop = true
		if ms, err := strconv.ParseInt(string(f.Value), 10, 32); err == nil && ms >= 0 && e.trusted {
			h.by = max(1, e.start+ms*int64(time.Millisecond))
		}
	case http1.EqualFold(f.Name, DegradedHeader):
		f.Drop = !e.trusted
	}
}

// parsePriority reads class.level in numbers, or the name of a class.
func parsePriority(v []byte) (p resilience.Priority, leveled, ok bool) {
	if p, ok := snapshot.ParsePriority(string(v)); ok {
		return p, false, true
	}
	p, ok = resilience.ParsePriority(string(v))
	return p, bytes.IndexByte(v, '.') >= 0, ok
}

// level deals the client its level within its class, so that what one client asks for fares alike.
func (e *exchange) level() {
	if !e.heard.leveled {
		a := e.remote.Addr().As16()
		e.heard.priority = snapshot.Level(e.heard.priority, string(a[:]), e.server.wallTime(e.start))
		e.heard.leveled = true
	}
}

// tellPolicy tells members what all tries have in common: how much the request matters, and which degradation modes are on.
func (e *exchange) tellPolicy() {
	if e.heard.ranked {
		e.level()
		e.extra = append(e.extra, PriorityHeader...)
		e.extra = append(e.extra, ": "...)
		e.extra = strconv.AppendUint(e.extra, uint64(e.heard.priority>>7), 10)
		e.extra = append(e.extra, '.')
		e.extra = strconv.AppendUint(e.extra, uint64(e.heard.priority&127), 10)
		e.extra = append(e.extra, '\r', '\n')
	}
	if names := e.listener.Modes.Names(); names != nil {
		e.extra = http1.AppendField(e.extra, DegradedHeader, names)
	}
}

// tellTry tells the member which try this is, and how much time is left.
func (e *exchange) tellTry(began instant) {
	if e.span.Trace.IsZero() {
		e.ask.Extra = e.ask.Extra[:len(e.extra)] // an earlier try's
	}
	if n := max(e.heard.attempt, e.tries); n > 1 {
		e.ask.Extra = http1.AppendIntField(e.ask.Extra, AttemptHeader, int64(n))
	}
	if e.by != 0 {
		e.ask.Extra = http1.AppendIntField(e.ask.Extra, TimeoutHeader, max(0, e.by-began)/int64(time.Millisecond))
	}
}

// tooLate refuses, at the door, a request that cannot be answered in the time its client gave it.
func (e *exchange) tooLate() bool {
	if e.heard.by == 0 {
		return false
	}
	left := time.Duration(e.heard.by - now())
	needed, late := e.service.Pool.TooLate(left)
	if !late {
		return false
	}
	e.service.Metrics.Count(telemetry.TooLate)
	e.fail(failed{
		status: 504, final: true, unsent: true, note: "deadline: " + left.Round(time.Microsecond).String() + " left, " + needed.String() + " needed",
		what: "too little time is left for service " + e.service.Name + " to answer",
	})
	return true
}

// rated holds the request against the rates of listener, route and service. It reports true where it was refused.
func (e *exchange) rated() bool {
	return e.over(e.listener.Rate, "listener") || e.over(e.route.Rate, "route") || e.service != nil && e.over(e.service.Rate, "service")
}

func (e *exchange) over(r *protect.Rate, scope string) bool {
	if r == nil {
		return false
	}
	c, of := r.Config(), ""
	var wait time.Duration
	ok := false
	switch c.Per {
	case "client":
		of = " of one client"
		key := clientKey(e.remote.Addr())
		wait, ok = r.Take(key[:])
	case "header":
		of = " with the same " + c.Header
		var key []byte
		if f := e.request.Find(c.Header); f != nil {
			key = f.Value
		}
		wait, ok = r.Take(key)
	default:
		wait, ok = r.Take(nil)
	}
	if ok {
		return false
	}
	if e.service != nil {
		e.service.Metrics.Count(telemetry.RateLimited)
	}
	e.fail(failed{
		status: 429, retryAfter: max(wait, time.Millisecond), note: "rate of the " + scope + ": " + c.Requests + of,
		what: "more than " + c.Requests + " requests" + of,
	})
	return true
}

// clientKey is who a client is: its address, or the network of an IPv6 one, as each of those has more addresses than could be counted.
func clientKey(a netip.Addr) (key [16]byte) {
	key = a.As16()
	if a.Is6() && !a.Is4In6() {
		clear(key[8:])
	}
	return key
}

// leaving is what the service learns from the exchange about how busy it is.
func (e *exchange) leaving() (l pool.Leaving) {
	switch {
	case e.headAt == 0 || e.status == statusClientGone:
	case e.tryStatus == 503 || e.tryStatus == 429 || e.timedOut:
		l.Load = pool.LoadTooMuch
	case e.tryStatus >= 200 && e.tryStatus < 500:
		l = pool.Leaving{Load: pool.LoadFine, Took: time.Duration(e.headAt-e.start) - e.waited}
	}
	return l
}

// failAdmission tells a client that the service has too much to do.
func (e *exchange) failAdmission(err error) {
	f := failed{status: 503, final: true, unsent: true, retryAfter: spread()}
	switch {
	case errors.Is(err, resilience.ErrShed):
		f.note = "shed: priority " + e.heard.priority.String() + ", admission level " +
			strconv.FormatFloat(1-e.service.Pool.ShedLevel(), 'f', 2, 64)
		f.what = "service " + e.service.Name + " has more to do than it can; try again shortly"
	case errors.Is(err, pool.ErrClientBusy):
		f.status, f.note = 429, "limit: too many requests of this client at once"
		f.what = "too many requests of yours to service " + e.service.Name + " are at work"
	case errors.Is(err, resilience.ErrLimited):
		f.note = "limit: " + err.Error()
		f.what = "service " + e.service.Name + " has as much work as it may have; try again shortly"
	default:
		e.failContext()
		return
	}
	e.fail(f)
}

// spread is when to try again, so that not all do at the same time.
func spread() time.Duration { return time.Second + rand.N(3*time.Second) }

// saidFinal says that the member does not want the request to be tried again: it, or who is behind it, has done so in vain.
func (e *exchange) saidFinal() bool {
	f := e.response.Find(RetryHeader)
	return f != nil && http1.EqualFold(f.Value, "no")
}

// appendPolicy appends the field lines with which an answer tells how it came about.
func (e *exchange) appendPolicy(dst []byte) []byte {
	if e.chain.standIn {
		e.chain.home.Metrics.Count(telemetry.Fallback)
		dst = append(append(append(dst, FallbackHeader+": service:"...), e.service.Name...), '\r', '\n')
	}
	if e.final && e.response.Status >= 500 && !e.saidFinal() {
		dst = http1.AppendField(dst, RetryHeader, "no")
	}
	return dst
}
