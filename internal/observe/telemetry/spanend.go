package telemetry

import (
	"net"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
)

// method is the request's method if it is a known one: the label of a span must be bounded.
func (e *SpanEnd) method() (name string, known bool) {
	switch m := string(e.Method); m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace, "QUERY":
		return m, true
	}
	return "_OTHER", false
}

// name is the span's: the method, and for requests the route as it is configured.
func (e *SpanEnd) name() string {
	name, known := e.method()
	if !known {
		name = "HTTP"
	}
	if e.Server && e.Route != "" {
		return name + " " + e.Listener + "/" + e.Route
	}
	return name
}

// verdict is the span's status: for requests 5xx are errors, for tries 4xx as well.
func (e *SpanEnd) verdict() (codes.Code, string) {
	if e.Error != "" {
		return codes.Error, e.Error
	}
	if e.Status >= 500 || !e.Server && e.Status >= 400 {
		return codes.Error, ""
	}
	return codes.Unset, ""
}

// attributes follow OpenTelemetry's semantic conventions for HTTP spans; what is Backstay's own begins with backstay.
func (e *SpanEnd) attributes() []attribute.KeyValue {
	method, known := e.method()
	kvs := make([]attribute.KeyValue, 0, 16)
	kvs = append(kvs, semconv.HTTPRequestMethodKey.String(method))
	if !known {
		kvs = append(kvs, semconv.HTTPRequestMethodOriginal(string(e.Method)))
	}
	text := func(key attribute.Key, value string) {
		if value != "" {
			kvs = append(kvs, key.String(value))
		}
	}
	if e.Server {
		text(semconv.URLPathKey, string(e.Path))
		text(semconv.URLSchemeKey, e.Scheme)
		text(semconv.ClientAddressKey, string(e.Client))
		text(semconv.UserAgentOriginalKey, string(e.UserAgent))
		kvs = appendServer(kvs, string(e.Host))
	} else {
		text(semconv.URLFullKey, e.Scheme+"://"+e.Address+string(e.Path))
		text("backstay.member", e.Member)
		kvs = appendServer(kvs, e.Address)
		if e.Tries > 1 {
			kvs = append(kvs, semconv.HTTPRequestResendCount(e.Tries-1))
		}
	}
	text(semconv.NetworkProtocolVersionKey, e.Proto)
	text("backstay.listener", e.Listener)
	text("backstay.route", e.Route)
	text("backstay.service", e.Service)
	text("backstay.request_id", string(e.RequestID))
	if e.Server && e.Tries > 0 {
		kvs = append(kvs, attribute.Int("backstay.tries", e.Tries))
	}
	if e.Status != 0 {
		kvs = append(kvs, semconv.HTTPResponseStatusCode(e.Status))
	}
	if e.In > 0 {
		kvs = append(kvs, semconv.HTTPRequestBodySizeKey.Int64(e.In))
	}
	if e.Out > 0 {
		kvs = append(kvs, semconv.HTTPResponseBodySizeKey.Int64(e.Out))
	}
	if e.Error != "" {
		text(semconv.ErrorTypeKey, e.Error)
	} else if code, _ := e.verdict(); code == codes.Error {
		text(semconv.ErrorTypeKey, strconv.Itoa(e.Status))
	}
	return kvs
}

// appendServer appends server.address and server.port from host:port or host.
func appendServer(kvs []attribute.KeyValue, hostPort string) []attribute.KeyValue {
	if hostPort == "" {
		return kvs
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return append(kvs, semconv.ServerAddress(hostPort))
	}
	kvs = append(kvs, semconv.ServerAddress(host))
	if n, err := strconv.Atoi(port); err == nil {
		kvs = append(kvs, semconv.ServerPort(n))
	}
	return kvs
}
