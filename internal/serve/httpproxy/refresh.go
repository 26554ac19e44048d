package httpproxy

import (
	"bytes"
	"context"
	"time"

	"github.com/backstay/backstay/internal/serve/cache"
	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/resilience"
)

// mostRefreshes bounds how many stored answers are asked for anew at once.
const mostRefreshes = 64

// refresh asks for a stale answer anew while the client already has it (RFC 5861, section 3).
func (e *exchange) refresh() {
	k := &e.caching
	lead := k.decision.Lead
	k.decision.Lead = cache.Lead{}
	if e.server.refreshes.Add(1) > mostRefreshes {
		e.server.refreshes.Add(-1)
		lead.Done(cache.Aborted)
		return
	}
	e.request.Drop(http1.SetOf(http1.IfNoneMatch, http1.IfModifiedSince, http1.Range))
	e.request.DropName("if-range")
	a := e.ask
	if k.decision.Entry.Validatable() {
		a.Extra = k.decision.Entry.AppendValidators(bytes.Clone(a.Extra))
	}
	r := &refresh{
		reflection: reflection{service: e.service, client: e.remote, local: e.local, head: appendAsk(nil, &a), secure: e.secure},
		lead:       lead, entry: k.decision.Entry,
	}
	k.query.Keep(&r.query, &r.request)
	s := e.server // the exchange is somebody else's by then
	s.work.Go(func() {
		defer s.refreshes.Add(-1)
		r.lead.Done(s.renew(r))
	})
}

// A refresh is a request that nobody waits for.
type refresh struct {
	reflection
	request http1.Request
	query   cache.Query
	lead    cache.Lead
	entry   *cache.Entry
}

// renew asks the service as any request does, but for retries, and stores what it says.
func (s *Server) renew(r *refresh) cache.Outcome {
	if n, err := r.request.Parse(r.head, http1.Limits{Head: len(r.head), Fields: 1 << 20}); err != nil || n == 0 {
		return cache.Aborted // an absolute limit of the parser
	}
	service := r.service.Pool
	ticket := pool.Ticket{Priority: resilience.Sheddable, Ranked: true} // nobody waits for it
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	err := service.EnterAs(ctx, &ticket)
	cancel()
	if err != nil {
		return cache.Aborted
	}
	defer service.LeaveAs(&ticket, pool.Leaving{})
	permit, err := service.Admit()
	if err != nil {
		return cache.Aborted
	}
	t := now()
	outcome, o := cache.Aborted, pool.Outcome{Result: pool.Ignored}
	if m, err := service.Pick(&pool.Query{}); err == nil {
		o = pool.Outcome{Result: pool.OK}
		if outcome, err = s.renewFrom(m, r, t); err != nil {
			o = pool.Outcome{Result: pool.Failed, Reason: classOf(err)}
		}
		o.Took = time.Duration(now() - t)
		m.Done(o)
	}
	switch o.Result {
	case pool.OK:
		permit.Done(resilience.Success, o.Took)
	case pool.Failed:
		permit.Done(resilience.Failure, o.Took)
	default:
		permit.Done(resilience.Ignored, 0)
	}
	return outcome
}

func (s *Server) renewFrom(m *pool.Member, r *refresh, t instant) (cache.Outcome, error) {
	timeout := r.service.Timeout
	st, err := s.open(s.ctx, m, &opening{
		service: r.service, client: r.client, local: r.local, connect: timeout.Connect, idle: timeout.Idle, by: after(t, timeout.Total),
	}, t)
	if err != nil {
		return cache.Aborted, err
	}
	defer st.Close()
	asked := time.Now()
	a := ask{Request: &r.request, Path: r.request.Path, Query: r.request.Query, Secure: r.secure}
	if err := st.Send(&a, piece{End: true}); err != nil {
		return cache.Aborted, err
	}
	var res http1.Response
	for res.Status < 200 {
		if err := st.Receive(&res, after(t, timeout.FirstByte)); err != nil {
			return cache.Aborted, err
		}
		if res.Status == 101 {
			return cache.Aborted, &tryError{failure: failProtocol, err: errNotAsked}
		}
	}
	c := r.service.Cache
	switch {
	case res.Status >= 500:
		return cache.Aborted, &tryError{failure: failProtocol}
	case res.Status == 304:
		_, outcome := c.Freshen(&r.query, r.entry, &res, asked, time.Now())
		return outcome, nil
	}
	w, _ := c.Begin(&r.query, &res, asked, time.Now())
	if w == nil {
		return cache.Passed, nil
	}
	for {
		p, err := st.Next()
		if err != nil {
			w.Abort()
			return cache.Aborted, err
		}
		if w.Write(p.Data); p.End {
			return w.Commit(), nil
		}
	}
}
