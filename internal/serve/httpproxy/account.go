package httpproxy

import (
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
)

// account tells metrics, access log and trace how the exchange went.
func (e *exchange) account() {
	end := now()
	e.end = end
	took := time.Duration(end - e.start)
	switch {
	case e.target != nil:
		e.target.Metrics.Done(e.status, took, e.in, e.out)
	case e.route != nil:
		e.route.Metrics.Done(e.status, took, e.in, e.out)
	}
	if e.server.access.Wants(e.status) {
		e.log(took)
	}
	if e.span.Recorded() {
		e.trace(end)
	}
}

func (e *exchange) log(took time.Duration) {
	line := telemetry.Access{
		Time: e.server.wallTime(e.start), Listener: e.listener.Name, Client: e.remote,
		Method: e.request.Method, Host: e.request.Host, Path: e.request.Target, Proto: e.proto,
		UserAgent: e.request.Get(http1.UserAgent), Referer: e.request.Get(http1.Referer),
		RequestID: e.id, Trace: e.span.Trace, Status: e.status, Took: took, Wait: e.waited,
		In: e.in, Out: e.out, Tries: e.tries, Note: e.note,
	}
	if e.route != nil {
		line.Route = e.route.Name
	}
	if e.service != nil {
		line.Service = e.service.Name
	}
	if e.member != nil {
		line.Member = e.member.Name()
	}
	if e.headAt != 0 {
		line.Upstream = time.Duration(e.headAt - e.start)
	}
	e.server.access.Write(&line)
}

func (e *exchange) trace(end instant) {
	s := telemetry.SpanEnd{
		Server: true, Method: e.request.Method, Path: e.request.Path, Host: e.request.Host,
		UserAgent: e.request.Get(http1.UserAgent), Scheme: "http", Proto: "1.1", Listener: e.listener.Name,
		Status: e.status, Tries: e.tries, In: e.in, Out: e.out, RequestID: e.id, Service: e.name(),
		Client: e.remote.Addr().AppendTo(nil),
	}
	if e.secure {
		s.Scheme = "https"
	}
	if e.proto != "HTTP/1.1" && e.proto != "HTTP/1.0" {
		s.Proto = "2"
	}
	if e.route != nil {
		s.Route = e.route.Name
	}
	if e.status >= 500 || e.status == statusClientGone {
		s.Error = reason(e.status)
	}
	e.span.End(e.server.wallTime(end), &s)
}
