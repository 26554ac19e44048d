package httpproxy

import (
	"bytes"
	"strconv"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/cache"
	"github.com/backstay/backstay/internal/serve/http1"
)

// caching is the part that the service's cache has in an exchange.
type caching struct {
	cache    *cache.Cache // nil where it has none
	query    cache.Query
	decision cache.Decision
	writer   *cache.Writer // while an answer that is stored goes to the client
	hidden   []byte
	cookies  []byte // field lines of a 304 for this client alone
	said     []byte // what Cache-Status says
	asked    time.Time
	asks     bool // the request has the entry's validators in place of the client's conditions
}

func (k *caching) reset() {
	k.cache, k.writer, k.asks = nil, nil, false
	k.decision = cache.Decision{}
	k.cookies, k.said = k.cookies[:0], k.said[:0]
}

// fromCache gives the answer out of the service's cache. It reports false where the service has to be asked; the cache learns the answer then.
func (e *exchange) fromCache() bool {
	k := &e.caching
	if !e.route.Cache && e.request.Verb.Safe() || e.request.Upgrade != nil {
		return false // what changes things is seen on every route
	}
	k.cache = e.service.Cache
	e.prepare() // what members would see is what variants are told apart by
	k.hidden = e.appendHidden(k.hidden[:0])
	k.query.Reset(e.request, k.hidden, e.ask.Extra)
	ctx, cancel := e.bounded()
	k.decision = k.cache.Open(ctx, &k.query)
	cancel()
	k.asked = time.Now()
	d := &k.decision
	if d.Collapsed {
		e.service.Metrics.Count(telemetry.CacheCollapsed)
	}
	switch d.Verdict {
	case cache.Fresh:
		k.say("hit")
	case cache.Stale:
		k.say("hit")
		if d.Refresh {
			e.refresh()
		} else if d.Collapsed {
			e.service.Metrics.Count(telemetry.Fallback)
			e.fallback = true
		}
	case cache.Refused:
		k.say("fwd=" + d.Why)
		e.refuseUncached()
		return true
	default:
		k.say("fwd=" + d.Why)
		return false
	}
	e.service.Metrics.Count(telemetry.CacheHit)
	e.note = "cache: " + d.Verdict.String()
	e.give(d.Entry)
	return true
}

// appendHidden appends what an answer depends on besides what the client asked: scheme and host as members are told them, and what the route
// makes of the request.
func (e *exchange) appendHidden(dst []byte) []byte {
	if e.secure {
		dst = append(dst, 's')
	}
	if e.trusted { // what proxies in front say is passed on
		for i := range e.request.Fields {
			f := &e.request.Fields[i]
			switch f.ID {
			case http1.XForwardedProto, http1.XForwardedHost, http1.XForwardedPort:
				dst = append(append(append(dst, '\n'), f.Name...), f.Value...)
			}
		}
	}
	if e.route.Rewrite != nil || e.route.RequestHeaders != nil {
		dst = append(append(append(dst, '\n'), e.listener.Name...), '\n')
		dst = append(dst, e.route.Name...)
	}
	return dst
}

// refuseUncached answers a client that wants nothing but a stored answer (RFC 9111, section 5.2.1.7).
func (e *exchange) refuseUncached() {
	e.edit = e.appendCacheStatus(http1.AppendField(e.edit[:0], "Cache-Control", "no-store"))
	e.note = "cache: only-if-cached"
	e.reply(504, nil)
}

// give gives the client a stored answer.
func (e *exchange) give(entry *cache.Entry) {
	k := &e.caching
	head, r := entry.Reply(e.page[:0], &k.query, time.Now())
	e.page = head
	if n, err := e.response.Parse(head, http1.Limits{Head: len(head), Fields: len(head)}, e.request.Verb); err != nil || n == 0 {
		e.broken, e.status, e.note = true, 502, "cache: the stored head is damaged"
		e.client.Abort()
		return
	}
	e.status, e.begun = r.Status, true
	e.edit = append(e.edit[:0], k.cookies...)
	e.applyEdits()
	if e.fallback {
		e.edit = http1.AppendField(e.edit, FallbackHeader, "cache")
	}
	e.edit = e.appendCacheStatus(e.edit)
	e.answer = answer{Response: &e.response, Status: r.Status, Extra: e.edit, Length: r.Length}
	err := e.client.Answer(&e.answer)
	if e.request.Verb == http1.HEAD {
		r = cache.Reply{}
	}
	for more := true; more && err == nil; {
		p := r.Next()
		more = r.More()
		e.out += int64(len(p))
		err = e.client.Write(piece{Data: p, End: !more})
	}
	if err != nil {
		e.broken, e.note = true, "client left"
		e.client.Abort()
	}
}

// applyEdits applies the route's changes to an answer's head.
func (e *exchange) applyEdits() {
	h := e.route.ResponseHeaders
	if h == nil {
		return
	}
	for i := range e.response.Fields {
		f := &e.response.Fields[i]
		if !framingFields.Has(f.ID) && h.Drops(f.Name) {
			f.Drop = true
		}
	}
	e.appendEdits()
}

// askConditionally puts the conditions of the stored answer in place of the client's own.
func (e *exchange) askConditionally() {
	k := &e.caching
	if k.cache == nil {
		return
	}
	k.query.Extra = e.ask.Extra
	k.asked = time.Now()
	if k.decision.Verdict != cache.Validate || !k.decision.Entry.Validatable() {
		return
	}
	k.asks = true
	e.request.Drop(http1.SetOf(http1.IfNoneMatch, http1.IfModifiedSince))
	e.extra = k.decision.Entry.AppendValidators(e.extra)
	e.ask.Extra = e.extra
}

// learn tells the cache of a member's answer. It reports true where a stored one was given in its place.
func (e *exchange) learn(took time.Duration) bool {
	k := &e.caching
	if k.cache == nil {
		return false
	}
	received := time.Now()
	res := &e.response
	switch {
	case k.asks && res.Status == 304:
		k.keepCookies(res)
		entry, outcome := k.cache.Freshen(&k.query, k.decision.Entry, res, k.asked, received)
		k.say("; fwd-status=304")
		e.service.Metrics.Count(telemetry.CacheValidated)
		e.endTryUnsent(took)
		k.decision.Lead.Done(outcome)
		e.note = "cache: validated"
		e.give(entry)
		return true
	case res.Status >= 500 && res.Status <= 504 && res.Status != 501 && !e.service.StaleLater:
		if entry := k.cache.OnError(&k.query); entry != nil {
			note := "answered " + reason(res.Status)
			k.say("; fwd-status=" + strconv.Itoa(res.Status))
			e.endTryUnsent(took)
			e.giveStale(entry, note)
			return true
		}
	}
	k.say("; fwd-status=" + strconv.Itoa(res.Status))
	if k.decision.Verdict != cache.Bypass && k.cache.Serves() {
		e.service.Metrics.Count(telemetry.CacheMiss)
	}
	if !e.request.Verb.Safe() {
		k.cache.Invalidate(&k.query, res)
		return false
	}
	if e.request.Verb == http1.HEAD {
		k.cache.SeenHead(&k.query, res, k.asked, received)
	}
	if k.decision.Verdict == cache.Bypass && e.request.Verb != http1.GET {
		return false
	}
	refused := ""
	if k.writer, refused = k.cache.Begin(&k.query, res, k.asked, received); k.writer != nil {
		k.say("; stored")
		return false
	}
	if refused != "" && refused != "kept" {
		k.say("; detail=" + refused)
	}
	k.decision.Lead.Done(cache.Passed)
	return false
}

// endTryUnsent ends a try whose answer the client does not get.
func (e *exchange) endTryUnsent(took time.Duration) {
	o := judged(e.response.Status, took)
	e.discard()
	e.member.Done(o)
}

// keepCookies keeps what a 304 sets for this client, which is not stored.
func (k *caching) keepCookies(res *http1.Response) {
	for i := range res.Fields {
		if f := &res.Fields[i]; f.ID == http1.SetCookie && !f.Drop {
			k.cookies = http1.AppendField(k.cookies, f.Name, f.Value)
		}
	}
}

// staleInstead gives a stored answer where the service failed. It reports false where there is none.
func (e *exchange) staleInstead() bool {
	k := &e.caching
	if k.cache == nil || e.begun || e.broken {
		return false
	}
	entry := k.cache.OnError(&k.query)
	if entry == nil {
		return false
	}
	e.giveStale(entry, e.note)
	return true
}

// giveStale gives a stored answer in the place of one that failed.
func (e *exchange) giveStale(entry *cache.Entry, why string) {
	e.caching.decision.Lead.Done(cache.Failed)
	e.service.Metrics.Count(telemetry.Fallback)
	e.fallback, e.note = true, "fallback: stored answer: "+why
	e.caching.say("; detail=stale-if-error")
	e.give(entry)
}

// store copies a piece of the answer into the cache. It does so ahead of the client, so that who has seen the whole of an answer finds it stored.
func (k *caching) store(p piece) {
	k.writer.Write(p.Data)
	switch {
	case p.End:
		k.decision.Lead.Done(k.writer.Commit())
		k.writer = nil
	case k.writer.Lost(): // too large: nobody needs to wait for the rest
		k.decision.Lead.Done(cache.Passed)
		k.writer = nil
	}
}

// discard forgets what was to be stored.
func (k *caching) discard() {
	if k.writer != nil {
		k.writer.Abort()
		k.writer = nil
	}
}

// end lets go of those who wait, whatever became of the exchange.
func (k *caching) end(failed bool) {
	if k.cache == nil {
		return
	}
	k.discard()
	if failed {
		k.decision.Lead.Done(cache.Failed)
	} else {
		k.decision.Lead.Done(cache.Aborted)
	}
	k.decision = cache.Decision{}
}

func (k *caching) say(s string) { k.said = append(k.said, s...) }

// appendCacheStatus appends what the cache did (RFC 9211).
func (e *exchange) appendCacheStatus(dst []byte) []byte {
	k := &e.caching
	if c := e.service.Config.Cache; k.cache == nil || c == nil || !c.Status || len(k.said) == 0 {
		return dst
	}
	dst = append(append(dst, "Cache-Status: backstay; "...), k.said...)
	if entry := k.decision.Entry; entry != nil && bytes.HasPrefix(k.said, []byte("hit")) {
		dst = append(dst, "; ttl="...)
		dst = strconv.AppendInt(dst, int64(entry.Left(time.Now()).Round(time.Second)/time.Second), 10)
	}
	if k.decision.Collapsed {
		dst = append(dst, "; collapsed"...)
	}
	return append(dst, '\r', '\n')
}
