package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay/internal/base/config"
)

const (
	maxHead    = 64 << 10 // bytes of an answer's head
	maxBody    = 64 << 10 // bytes of an answer's body that are looked at
	maxInterim = 10       // answers of 1xx before the answer
)

// http asks for a page over a connection of its own and follows no redirect.
func (p *prober) http(ctx context.Context, t Target, c config.HTTPCheck) error {
	req, err := request(ctx, t, c)
	if err != nil {
		return wrong("request", err)
	}
	http2 := t.Protocol == "http2"
	var secure *tls.Config
	if m := first(c.TLS, t.TLS); m != nil {
		alpn := []string{"http/1.1"}
		if http2 {
			alpn = []string{"h2", "http/1.1"}
		}
		if secure, err = p.files.config(t, *m, alpn...); err != nil {
			return err
		}
	}
	if http2 {
		return p.http2(req, t, c, secure)
	}
	return p.http1(req, t, c, secure)
}

// http1 does without http.Transport, which costs goroutines and gives vague errors where the member does not speak HTTP.
func (p *prober) http1(req *http.Request, t Target, c config.HTTPCheck, secure *tls.Config) error {
	ctx := req.Context()
	conn, err := dial(ctx, t)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer expire(ctx, conn)()
	if secure != nil {
		conn = tls.Client(conn, secure)
	}
	req.Close = true
	if err := req.Write(conn); err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.LimitReader(conn, maxHead+maxBody), 4<<10)
	if _, err := r.Peek(1); err != nil {
		return err // ReadResponse would not tell no answer from half of one
	}
	for range maxInterim {
		answer, err := http.ReadResponse(r, req) //nolint:bodyclose // the connection is closed; closing the body would read it to its end
		if err != nil {
			return err
		}
		if answer.StatusCode >= 200 || answer.StatusCode == http.StatusSwitchingProtocols {
			return p.judge(answer, c)
		}
	}
	return errors.New("only interim answers (1xx) came")
}

func (p *prober) http2(req *http.Request, t Target, c config.HTTPCheck, secure *tls.Config) error {
	transport := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, t) },
		TLSClientConfig:        secure,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHead,
		Protocols:              new(http.Protocols),
	}
	defer transport.CloseIdleConnections()
	if secure != nil {
		req.URL.Scheme = "https"
		transport.Protocols.SetHTTP1(true)
		transport.Protocols.SetHTTP2(true)
	} else {
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	answer, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return p.judge(answer, c)
}

func first(a, b *config.MemberTLS) *config.MemberTLS {
	if a != nil {
		return a
	}
	return b
}

func request(ctx context.Context, t Target, c config.HTTPCheck) (*http.Request, error) {
	path := c.Path
	if path == "" {
		path = "/"
	}
	target, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, err
	}
	target.Scheme, target.Host = "http", authority(t)
	method := c.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "backstay-check")
	for name, value := range c.Headers {
		req.Header.Set(name, value)
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	if c.Host != "" {
		req.Host = c.Host
	}
	return req, nil
}

// judge looks at status, headers and body, in this order.
func (p *prober) judge(answer *http.Response, c config.HTTPCheck) error {
	good, err := statusIn(answer.StatusCode, c.Status)
	if err != nil {
		return wrong("status", err)
	}
	if !good {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	for _, name := range slices.Sorted(maps.Keys(c.ExpectHeaders)) {
		re, err := p.patterns.get(c.ExpectHeaders[name])
		if err != nil {
			return wrong("header "+name, err)
		}
		values := answer.Header.Values(name)
		switch {
		case len(values) == 0:
			return fmt.Errorf("header %s is missing", name)
		case !slices.ContainsFunc(values, re.MatchString):
			return fmt.Errorf("header %s does not match %s: %q", name, re, cut(values[0], 40))
		}
	}
	if c.Body == "" {
		if answer.ContentLength > 0 && answer.ContentLength <= maxBody { // let the member finish, whatever comes of it
			_, _ = io.Copy(io.Discard, answer.Body)
		}
		return nil
	}
	re, err := p.patterns.get(c.Body)
	if err != nil {
		return wrong("body", err)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	switch {
	case re.Match(body):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("body does not match %s: %q", re, cut(string(body), 40))
}

// statusIn reports whether a status is in a set of such as 200, 2xx and 200-399; without any, those below 400 are.
func statusIn(status int, set []string) (bool, error) {
	if len(set) == 0 {
		return status >= 200 && status < 400, nil
	}
	for _, s := range set {
		low, high, err := statusRange(strings.TrimSpace(s))
		if err != nil {
			return false, err
		}
		if status >= low && status <= high {
			return true, nil
		}
	}
	return false, nil
}

func statusRange(s string) (low, high int, err error) {
	wrongRange := errors.New(s + " is no status: write 200, 2xx or 200-399")
	if class, ok := strings.CutSuffix(strings.ToLower(s), "xx"); ok {
		low, err = strconv.Atoi(class)
		if err != nil || low < 1 || low > 5 {
			return 0, 0, wrongRange
		}
		return low * 100, low*100 + 99, nil
	}
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	low, err = strconv.Atoi(strings.TrimSpace(from))
	high, err2 := strconv.Atoi(strings.TrimSpace(to))
	if err != nil || err2 != nil || low < 100 || high > 599 || low > high {
		return 0, 0, wrongRange
	}
	return low, high, nil
}
