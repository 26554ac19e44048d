package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// reasons are asked in order; the first that matches names the error.
var reasons = []struct {
	target error
	name   string
}{
	{ErrProxyUntrusted, "proxy_untrusted"},
	{ErrProxyTimeout, "proxy_timeout"},
	{ErrProxyHeader, "proxy_header"},
	{context.Canceled, "canceled"},
	{context.DeadlineExceeded, "timeout"},
	{os.ErrDeadlineExceeded, "timeout"},
	{syscall.ETIMEDOUT, "timeout"},
	{syscall.ECONNREFUSED, "refused"},
	{syscall.ENOENT, "refused"}, // a unix socket that is not there: nobody listens
	{syscall.ECONNRESET, "reset"},
	{syscall.ECONNABORTED, "reset"},
	{syscall.EPIPE, "reset"},
	{syscall.EHOSTUNREACH, "unreachable"},
	{syscall.ENETUNREACH, "unreachable"},
	{syscall.EHOSTDOWN, "unreachable"},
	{syscall.EADDRNOTAVAIL, "ports"}, // no free local port towards the member
	{syscall.EMFILE, "descriptors"},
	{syscall.ENFILE, "descriptors"},
	{net.ErrClosed, "closed"},
	{io.ErrUnexpectedEOF, "eof"},
	{io.EOF, "eof"},
}

// Reason classifies an error of a connection in one word, for metrics and logs: refused, timeout, unreachable, reset,
// closed, eof, canceled, dns, tls, ports, descriptors, proxy_untrusted, proxy_header, proxy_timeout, other; empty for nil.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	for _, r := range reasons {
		if errors.Is(err, r.target) {
			return r.name
		}
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		if dns.IsTimeout {
			return "timeout"
		}
		return "dns"
	}
	if isTLS(err) {
		return "tls"
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return "timeout"
	}
	return "other"
}

func isTLS(err error) bool {
	var (
		alert  tls.AlertError
		record tls.RecordHeaderError
		verify *tls.CertificateVerificationError
		name   x509.HostnameError
		author x509.UnknownAuthorityError
		cert   x509.CertificateInvalidError
	)
	return errors.Is(err, ErrTLS) || errors.As(err, &alert) || errors.As(err, &record) || errors.As(err, &verify) ||
		errors.As(err, &name) || errors.As(err, &author) || errors.As(err, &cert)
}
