package httpproxy

import (
	"net/netip"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

// A reflection is a copy of a request on its way to a second service.
type reflection struct {
	service *snapshot.Service
	client  netip.AddrPort
	local   netip.AddrPort
	head    []byte
	body    []byte
	secure  bool
}

// mirror sends a copy of the request to the route's second service, after the request itself is done: it can delay nothing. What is
// too large to be kept for another try, or too much at once, is not copied but counted.
func (e *exchange) mirror() {
	m := e.route.Mirror
	if !m.Wanted() || e.request.Upgrade != nil {
		return
	}
	if !e.body.ended || e.body.over {
		m.Service.Metrics.Count(telemetry.MirrorDropped)
		return
	}
	select {
	case e.server.mirrors <- struct{}{}:
	default:
		m.Service.Metrics.Count(telemetry.MirrorDropped)
		return
	}
	r := &reflection{service: m.Service, client: e.remote, local: e.local, head: appendAsk(nil, &e.ask), secure: e.secure}
	r.body = append(r.body, e.body.kept...)
	if e.body.whole {
		r.body = append(r.body[:0], e.body.piece.Data...)
	}
	s := e.server
	s.work.Add()
	go func() {
		defer s.work.Done()
		defer func() { <-s.mirrors }()
		s.reflect(r)
	}()
	m.Service.Metrics.Count(telemetry.Mirrored)
}

// reflect sends the copy and throws its answer away.
func (s *Server) reflect(r *reflection) {
	var req http1.Request
	if n, err := req.Parse(r.head, http1.Limits{Head: len(r.head), Fields: 1 << 20}); err != nil || n == 0 {
		return // an absolute limit of the parser: the copy is dropped
	}
	m, err := r.service.Pool.Pick(&pool.Query{})
	if err != nil {
		return
	}
	t := now()
	o := pool.Outcome{Result: pool.OK}
	if err := s.reflectTo(m, r, &req, t); err != nil {
		o = pool.Outcome{Result: pool.Failed, Reason: classOf(err)}
	}
	o.Took = time.Duration(now() - t)
	m.Done(o)
}

func (s *Server) reflectTo(m *pool.Member, r *reflection, req *http1.Request, t instant) error {
	timeout := r.service.Timeout
	st, err := s.open(s.ctx, m, &opening{
		service: r.service, client: r.client, local: r.local, connect: timeout.Connect, idle: timeout.Idle,
		careful: !req.Verb.Idempotent(), by: after(t, timeout.Total),
	}, t)
	if err != nil {
		return err
	}
	defer st.Close()
	a := ask{Request: req, Path: req.Path, Query: req.Query, Secure: r.secure}
	if err := st.Send(&a, piece{Data: r.body, End: true}); err != nil {
		return err
	}
	var res http1.Response
	for res.Status < 200 {
		if err := st.Receive(&res, after(t, timeout.FirstByte)); err != nil {
			return err
		}
		if res.Status == 101 {
			return nil
		}
	}
	for {
		if p, err := st.Next(); err != nil || p.End {
			return err
		}
	}
}
