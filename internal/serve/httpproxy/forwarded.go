package httpproxy

import (
	"bytes"
	"net/netip"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

// told are the fields by which proxies tell where a request comes from.
var told = http1.SetOf(http1.Forwarded, http1.XForwardedFor, http1.XForwardedProto, http1.XForwardedHost,
	http1.XForwardedPort, http1.XRealIP)

// tellOrigin tells members where the request comes from. What a trusted proxy in front said is kept and added to;
// what anybody else said is replaced.
func (e *exchange) tellOrigin() {
	r := e.request
	r.Drop(http1.SetOf(http1.XRequestID))
	e.extra = http1.AppendField(e.extra, "X-Request-Id", e.id)
	e.tellTrace()
	how := e.listener.Config.Forwarded.Headers
	if !e.trusted {
		r.Drop(told)
		dropForwarded(r)
		e.extra = append(e.extra, e.said...)
		if how == "x-forwarded" || how == "both" {
			e.extra = http1.AppendField(e.extra, "X-Forwarded-Host", r.Host)
		}
		if how == "forwarded" || how == "both" {
			e.extra = append(e.extra, "Forwarded: "...)
			e.extra = append(appendForwarded(e.extra, e.remote.Addr(), r.Host, e.secure), '\r', '\n')
		}
		return
	}
	if how == "x-forwarded" || how == "both" {
		e.addXForwarded()
	}
	if how == "forwarded" || how == "both" {
		e.extra = append(e.extra, "Forwarded: "...)
		e.extra = appendAll(e.extra, r, http1.Forwarded)
		e.extra = append(appendForwarded(e.extra, e.peer, r.Host, e.secure), '\r', '\n')
		r.Drop(http1.SetOf(http1.Forwarded))
	}
}

// tellTrace drops the trace context that came: what goes on is told with each try.
func (e *exchange) tellTrace() {
	e.request.Drop(http1.SetOf(http1.Traceparent))
	if !e.trusted || e.span.Trace.IsZero() {
		e.request.Drop(http1.SetOf(http1.Tracestate))
	}
}

// beginTry gives a try its span, and tells the member of it.
func (e *exchange) beginTry(began instant) {
	if e.span.Trace.IsZero() {
		return
	}
	e.trySpan = e.span.Try(e.server.wallTime(began))
	e.ask.Extra = append(e.ask.Extra[:len(e.extra)], "traceparent: "...) // in place of an earlier try's
	e.ask.Extra = append(e.trySpan.Trace.AppendTraceparent(e.ask.Extra), '\r', '\n')
}

// endTry ends it.
func (e *exchange) endTry() {
	if !e.trySpan.Recorded() {
		return
	}
	s := telemetry.SpanEnd{
		Method: e.request.Method, Path: e.ask.Path, Host: e.request.Host, Scheme: "http", Proto: "1.1", Service: e.name(),
		Member: e.member.Name(), Address: e.member.Address(), Status: e.tryStatus, Tries: e.tries,
	}
	if e.service.TLS != nil {
		s.Scheme = "https"
	}
	if e.service.HTTP2 {
		s.Proto = "2"
	}
	if e.tryStatus == 0 {
		s.Error = "no answer"
	} else if e.tryStatus >= 500 {
		s.Error = reason(e.tryStatus)
	}
	e.trySpan.End(e.server.wallTime(now()), &s)
	e.trySpan = telemetry.Span{}
}

// addXForwarded adds this hop to what the proxy in front said.
func (e *exchange) addXForwarded() {
	r := e.request
	e.extra = append(e.extra, "X-Forwarded-For: "...)
	e.extra = appendAll(e.extra, r, http1.XForwardedFor)
	e.extra = append(appendAddr(e.extra, e.peer), '\r', '\n')
	r.Drop(http1.SetOf(http1.XForwardedFor))
	if !r.Present.Has(http1.XForwardedProto) {
		e.extra = appendProto(e.extra, e.secure)
	}
	if !r.Present.Has(http1.XForwardedHost) {
		e.extra = http1.AppendField(e.extra, "X-Forwarded-Host", r.Host)
	}
}

// appendAll appends the values of all fields of that name, each with a comma behind it.
func appendAll(dst []byte, r *http1.Request, id http1.ID) []byte {
	if !r.Present.Has(id) {
		return dst
	}
	for i := range r.Fields {
		if f := &r.Fields[i]; f.ID == id && len(f.Value) > 0 {
			dst = append(append(dst, f.Value...), ", "...)
		}
	}
	return dst
}

// dropForwarded drops the less usual X-Forwarded-* fields.
func dropForwarded(r *http1.Request) {
	const prefix = "x-forwarded-"
	for i := range r.Fields {
		f := &r.Fields[i]
		if f.ID == http1.Unknown && len(f.Name) > len(prefix) && f.Name[0]|0x20 == 'x' && http1.EqualFold(f.Name[:len(prefix)], prefix) {
			f.Drop = true
		}
	}
}

// originFields are the lines that are the same for all requests of a connection whose word is not believed.
func originFields(how string, remote netip.Addr, secure bool) []byte {
	if how != "x-forwarded" && how != "both" {
		return nil
	}
	b := append([]byte(nil), "X-Forwarded-For: "...)
	b = append(appendAddr(b, remote), '\r', '\n')
	return appendProto(b, secure)
}

func appendProto(dst []byte, secure bool) []byte {
	if secure {
		return append(dst, "X-Forwarded-Proto: https\r\n"...)
	}
	return append(dst, "X-Forwarded-Proto: http\r\n"...)
}

func appendAddr(dst []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return append(dst, "unknown"...) // a unix socket
	}
	return a.AppendTo(dst)
}

// appendForwarded appends an element of RFC 7239.
func appendForwarded(dst []byte, a netip.Addr, host []byte, secure bool) []byte {
	dst = append(dst, "for="...)
	if a.Is6() {
		dst = append(a.AppendTo(append(dst, `"[`...)), `]"`...)
	} else {
		dst = appendAddr(dst, a)
	}
	if len(host) > 0 && bytes.IndexByte(host, '"') < 0 {
		dst = append(append(append(dst, `;host="`...), host...), '"')
	}
	if secure {
		return append(dst, ";proto=https"...)
	}
	return append(dst, ";proto=http"...)
}

// origin is the client's address as trusted proxies in front tell it: the last one in X-Forwarded-For that is not itself trusted.
func origin(l *snapshot.HTTPListener, r *http1.Request, peer netip.AddrPort) netip.AddrPort {
	for i := len(r.Fields) - 1; i >= 0; i-- {
		if r.Fields[i].ID != http1.XForwardedFor {
			continue
		}
		list := r.Fields[i].Value
		for len(list) > 0 {
			cut := bytes.LastIndexByte(list, ',')
			a, err := netip.ParseAddr(string(bytes.TrimSpace(list[cut+1:])))
			if err != nil {
				return peer
			}
			peer = netip.AddrPortFrom(a.Unmap(), 0)
			if !l.Trust.Contains(a.Unmap()) {
				return peer
			}
			list = list[:max(cut, 0)]
		}
	}
	return peer
}
