package cache

import "time"

// Verdict is what becomes of a request.
type Verdict uint8

const (
	// Bypass is for what the cache has no part in.
	Bypass Verdict = iota
	// Miss has the origin asked; its answer may be stored.
	Miss
	// Fresh makes the entry the answer.
	Fresh
	// Stale makes the entry the answer, though it is stale.
	Stale
	// Validate has the origin asked whether the entry still holds, with a condition where there is a validator.
	Validate
	// Refused is for a client that wants nothing but a stored answer, and there is none to give; it gets 504.
	Refused
)

// String is the verdict in a word.
func (v Verdict) String() string {
	return [...]string{"bypass", "miss", "fresh", "stale", "validate", "refused"}[v]
}

// judge says what becomes of a request for which e is stored (RFC 9111, section 4 and 5.2.1). background is set where the answer is given at
// once, and the origin is to be asked meanwhile. why is the reason as Cache-Status names it, where the origin is asked.
func judge(e *Entry, q *Query, now time.Time) (v Verdict, background bool, why string) {
	left := e.Left(now)
	wanted := q.says.has(noCache) ||
		q.says.has(maxAge) && e.Age(now) > q.says.maxAge && !q.says.has(maxStale) ||
		q.says.has(minFresh) && left < q.says.minFresh
	switch {
	case !wanted && e.Fresh(now):
		return Fresh, false, ""
	case wanted:
		why = "request"
	default:
		why = "stale"
		if ok, background := e.staleAllowed(-left, q); ok && !e.mustAsk {
			return Stale, background, ""
		}
	}
	if q.says.has(onlyIfCached) {
		return Refused, false, why
	}
	return Validate, false, why
}
