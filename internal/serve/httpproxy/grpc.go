package httpproxy

import (
	"bytes"
	"strconv"
	"time"

	"github.com/backstay/backstay/internal/serve/http1"
)

// Codes of gRPC (grpc.github.io/grpc/core/md_doc_statuscodes.html).
const (
	grpcUnknown          = 2
	grpcDeadlineExceeded = 4
	grpcPermissionDenied = 7
	grpcUnimplemented    = 12
	grpcInternal         = 13
	grpcUnavailable      = 14
	grpcUnauthenticated  = 16
)

// grpcCode is what a status of HTTP means to gRPC clients (the protocol's "HTTP to gRPC Status Code Mapping").
func grpcCode(status int) int {
	switch status {
	case 400, 431:
		return grpcInternal
	case 401:
		return grpcUnauthenticated
	case 403:
		return grpcPermissionDenied
	case 404, 405:
		return grpcUnimplemented
	case 429, 502, 503, 504:
		return grpcUnavailable
	}
	return grpcUnknown
}

// grpc says whether the request is a gRPC call.
func (e *exchange) grpc() bool {
	const kind = "application/grpc"
	v := e.request.Get(http1.ContentType)
	return e.mayLeave && len(v) >= len(kind) && http1.EqualFold(v[:len(kind)], kind) && (len(v) == len(kind) || v[len(kind)] == '+' || v[len(kind)] == ';')
}

// deadline is when a gRPC client gives up, 0 where it does not say.
func (e *exchange) deadline() instant {
	if !e.grpc() {
		return 0
	}
	f := e.request.Find("grpc-timeout")
	if f == nil || len(f.Value) < 2 || len(f.Value) > 9 {
		return 0
	}
	n, err := strconv.ParseUint(string(f.Value[:len(f.Value)-1]), 10, 32)
	if err != nil {
		return 0
	}
	unit := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': 1}[f.Value[len(f.Value)-1]]
	if unit == 0 || n > uint64(1<<62/int64(unit)) {
		return 0
	}
	return max(1, e.start+int64(n)*int64(unit))
}

// left says that the client is gone, or has given up: what its request comes to then says nothing about the member.
func (e *exchange) left() bool {
	if e.ctx.Err() != nil {
		return true
	}
	if !e.mayLeave {
		return false
	}
	by := e.deadline()
	return by != 0 && now() >= by
}

// failGRPC tells a gRPC client of a failure in its own terms: a head with a status, and nothing else ("Trailers-Only").
func (e *exchange) failGRPC(f failed) {
	e.edit = http1.AppendField(e.edit[:0], "Content-Type", "application/grpc")
	e.edit = http1.AppendIntField(e.edit, "Grpc-Status", int64(e.grpcStatus(f.status)))
	e.edit = http1.AppendField(e.edit, "Grpc-Message", grpcMessage(f.what))
	e.edit = http1.AppendField(e.edit, "X-Request-Id", e.id)
	e.broken = e.broken || f.close
	e.reply(200, nil)
	e.status = f.status // as metrics and logs see it
}

func (e *exchange) grpcStatus(status int) int {
	if by := e.deadline(); status == 504 && by != 0 && now() >= by {
		return grpcDeadlineExceeded
	}
	return grpcCode(status)
}

// breakGRPC ends a gRPC answer that broke off with a status that says so. It reports false where the client is none of gRPC, or gone.
func (e *exchange) breakGRPC(what string) bool {
	if e.ctx.Err() != nil || !e.grpc() {
		return false
	}
	code := grpcUnavailable
	if e.left() {
		code = grpcDeadlineExceeded
	}
	return e.client.Write(piece{End: true, Trailers: []http1.Field{
		{Name: []byte("Grpc-Status"), Value: strconv.AppendInt(nil, int64(code), 10)},
		{Name: []byte("Grpc-Message"), Value: grpcMessage(what)},
	}}) == nil
}

// grpcMessage is a text as the protocol wants it: percent-encoded.
func grpcMessage(s string) []byte {
	var b bytes.Buffer
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			b.WriteString("%" + strconv.FormatInt(int64(c)+0x100, 16)[1:])
		} else {
			b.WriteByte(c)
		}
	}
	return b.Bytes()
}
