package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// maxReason is how many bytes a reason has at most.
const maxReason = 300

// plainErrno says in a few words what the kernel answered.
var plainErrno = []struct {
	errno error
	words string
}{
	{syscall.ECONNREFUSED, "connection refused"},
	{syscall.ECONNRESET, "connection reset"},
	{syscall.EPIPE, "connection closed"},
	{syscall.EHOSTUNREACH, "no route to host"},
	{syscall.ENETUNREACH, "network unreachable"},
	{syscall.EMFILE, "this node has no file descriptors left"},
	{syscall.ENFILE, "this node has no file descriptors left"},
	{syscall.EADDRNOTAVAIL, "this node has no local port left"},
	{io.ErrUnexpectedEOF, "connection closed before the answer was whole"},
	{io.EOF, "connection closed without an answer"},
	{os.ErrDeadlineExceeded, "timed out"},
	{context.DeadlineExceeded, "timed out"},
}

// reason puts an error into a few plain words.
func reason(err error) string {
	if words := tlsReason(err); words != "" {
		return words
	}
	var missing *net.DNSError
	if errors.As(err, &missing) {
		if missing.IsNotFound {
			return "no such host name: " + missing.Name
		}
		return "cannot look up " + missing.Name
	}
	for _, p := range plainErrno {
		if errors.Is(err, p.errno) {
			return p.words
		}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		if errors.Is(op.Err, os.ErrNotExist) {
			return "no such socket"
		}
		if op.Timeout() {
			return "timed out"
		}
		err = op.Err
	}
	text := err.Error()
	if strings.Contains(text, "malformed HTTP") || strings.Contains(text, "malformed MIME header") {
		return "the answer is not HTTP"
	}
	return line(text)
}

// tlsReason is reason for what goes wrong in a TLS handshake.
func tlsReason(err error) string {
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &host):
		return "the certificate is not for " + host.Host
	case errors.As(err, &authority):
		return "the certificate is from an unknown authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate has expired or is not valid yet"
	case errors.As(err, &record):
		return "the answer is not TLS"
	case errors.As(err, &op) && op.Op == "remote error":
		return "TLS refused by the member: " + strings.TrimPrefix(op.Err.Error(), "tls: ")
	}
	return ""
}

// line makes text fit on one line.
func line(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// cut shortens s to at most n bytes, at the end of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

// short writes a duration without what nobody reads: 1.5s, 250ms, 1m30s.
func short(d time.Duration) string {
	switch {
	case d >= time.Minute:
		d = d.Round(time.Second)
	case d >= time.Second:
		d = d.Round(100 * time.Millisecond)
	case d >= time.Millisecond:
		d = d.Round(time.Millisecond)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// wrong is a check that cannot be carried out as it is written.
func wrong(what string, err error) error { return fmt.Errorf("the check's %s is wrong: %w", what, err) }
