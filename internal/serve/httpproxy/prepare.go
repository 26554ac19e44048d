package httpproxy

import (
	"bytes"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/http1"
	"github.com/backstay/backstay/internal/serve/snapshot"
)

// identify gives the exchange its request id and its place in a trace.
func (e *exchange) identify() {
	e.id = e.id[:0]
	if e.trusted {
		if id := e.request.Get(http1.XRequestID); len(id) > 0 && len(id) <= 128 && http1.ValidToken(id) {
			e.id = append(e.id, id...)
		}
	}
	if len(e.id) == 0 {
		e.id = telemetry.AppendRequestID(e.id)
	}
	e.span = e.server.tracer.Start(e.request.Get(http1.Traceparent), e.trusted, e.server.wallTime(e.start))
}

// prepare makes of the client's request what every member sees of it.
func (e *exchange) prepare() {
	r := e.request
	e.ask = ask{Request: r, Path: r.Path, Query: r.Query, Upgrade: r.Upgrade, Secure: e.secure}
	if w := e.route.Rewrite; w != nil {
		e.path = w.AppendPath(e.path[:0], r.Path)
		e.ask.Path = e.path
		if w.Host != "" {
			e.ask.Host = []byte(w.Host)
		}
	}
	if e.ask.Host == nil && !r.Present.Has(http1.Host) {
		if e.ask.Host = r.Host; r.Host == nil { // HTTP/1.0: HTTP/1.1 wants the field, if only empty
			e.ask.Host = []byte{}
		}
	}
	if r.Scheme != nil {
		e.ask.Host = r.Host // an absolute target says the same as the field, which may differ in case
	}
	if e.ask.Host != nil {
		r.Drop(http1.SetOf(http1.Host))
	}
	e.extra = e.extra[:0]
	e.tellOrigin()
	e.tellPolicy()
	if h := e.route.RequestHeaders; h != nil {
		e.editRequest(h)
	}
	e.ask.Extra = e.extra
	e.affinity()
}

// framingFields are never edited: they say where a message ends, and whose connection it is.
var framingFields = http1.SetOf(http1.ContentLength, http1.TransferEncoding, http1.Connection, http1.Upgrade, http1.TE, http1.KeepAlive)

// editRequest applies a route's changes: they have the last word, over what we add ourselves too.
func (e *exchange) editRequest(h *snapshot.HeaderEdit) {
	for i := range e.request.Fields {
		f := &e.request.Fields[i]
		if f.ID != http1.Host && !framingFields.Has(f.ID) && h.Drops(f.Name) {
			f.Drop = true
		}
	}
	e.extra = dropLines(e.extra, h)
	for i := range h.Fields {
		f := &h.Fields[i]
		switch id := http1.Identify(f.Name); {
		case id == http1.Host:
			e.ask.Host = f.Value
			e.request.Drop(http1.SetOf(http1.Host))
		case !framingFields.Has(id):
			e.extra = http1.AppendField(e.extra, f.Name, f.Value)
		}
	}
}

// dropLines removes field lines in place.
func dropLines(lines []byte, h *snapshot.HeaderEdit) []byte {
	kept := lines[:0]
	for rest := lines; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		if name, _, _ := bytes.Cut(rest[:n], []byte{':'}); !h.Drops(name) {
			kept = append(kept, rest[:n]...)
		}
		rest = rest[n:]
	}
	return kept
}

// answerFields are the field lines that an answer gets on its way to the client: the route's changes and the sticky cookie.
func (e *exchange) answerFields() []byte {
	e.edit = e.edit[:0]
	if h := e.route.ResponseHeaders; h != nil {
		for i := range e.response.Fields {
			f := &e.response.Fields[i]
			if !framingFields.Has(f.ID) && h.Drops(f.Name) {
				f.Drop = true
			}
		}
		e.appendEdits()
	}
	if s := e.service.Config.Balance.Sticky; s != nil && e.query.Sticky != e.member.Key() {
		e.edit = append(e.edit, "Set-Cookie: "...)
		e.edit = snapshot.AppendCookie(e.edit, s, e.member.Key(), e.secure)
		e.edit = append(e.edit, '\r', '\n')
	}
	e.edit = e.appendPolicy(e.appendCacheStatus(e.edit))
	return e.edit
}

// appendEdits appends the fields that the route sets and adds on answers.
func (e *exchange) appendEdits() {
	if e.route == nil || e.route.ResponseHeaders == nil {
		return
	}
	for _, f := range e.route.ResponseHeaders.Fields {
		if !framingFields.Has(http1.Identify(f.Name)) {
			e.edit = http1.AppendField(e.edit, f.Name, f.Value)
		}
	}
}

// appendAsk appends the head of a request to a member, with the empty line that ends it.
func appendAsk(dst []byte, a *ask) []byte {
	r := a.Request
	dst = http1.AppendRequestLine(dst, r.Method, a.Path, a.Query)
	if a.Host != nil {
		dst = http1.AppendField(dst, "Host", a.Host)
	}
	dst = r.AppendFields(dst)
	dst = append(dst, a.Extra...)
	if r.Length == http1.ChunkedBody {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	switch {
	case a.Upgrade != nil:
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: "...)
		dst = append(append(dst, a.Upgrade...), '\r', '\n')
	case r.Trailers:
		dst = append(dst, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	return append(dst, '\r', '\n')
}

// appendLastChunk ends a chunked body.
func appendLastChunk(dst []byte, trailers []http1.Field) []byte {
	dst = append(dst, '0', '\r', '\n')
	for i := range trailers {
		if !trailers[i].Drop {
			dst = http1.AppendField(dst, trailers[i].Name, trailers[i].Value)
		}
	}
	return append(dst, '\r', '\n')
}
