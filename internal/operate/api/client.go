package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/backstay/backstay/internal/base/event"
)

// Client asks a node over its admin socket. It is a System itself; its errors are *Error.
type Client struct {
	socket string
	http   http.Client
}

var _ System = (*Client)(nil)

// Dial makes a client of the node behind this socket. Nothing is connected yet.
func Dial(socket string) *Client {
	dialer := net.Dialer{Timeout: 2 * time.Second}
	return &Client{socket: socket, http: http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Status implements System.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Reload implements System.
func (c *Client) Reload(ctx context.Context) (r Reloaded, err error) {
	return r, c.call(ctx, http.MethodPost, "/v1/reload", nil, &r)
}

// Drain implements System.
func (c *Client) Drain(ctx context.Context, member string) error {
	return c.call(ctx, http.MethodPost, "/v1/drain", map[string]string{"member": member}, nil)
}

// Resume implements System.
func (c *Client) Resume(ctx context.Context, member string) error {
	return c.call(ctx, http.MethodPost, "/v1/resume", map[string]string{"member": member}, nil)
}

// Degrade implements System.
func (c *Client) Degrade(ctx context.Context, mode, state string) error {
	return c.call(ctx, http.MethodPost, "/v1/degrade", map[string]string{"mode": mode, "state": state}, nil)
}

// Events implements System. When following, it ends with an Unreachable error when the node goes away.
func (c *Client) Events(ctx context.Context, q EventQuery, emit func(event.Record) error) error {
	v := url.Values{"follow": {strconv.FormatBool(q.Follow)}, "since": {strconv.FormatUint(q.Since, 10)}}
	if q.Last > 0 {
		v.Set("last", strconv.Itoa(q.Last))
	}
	if q.Service != "" {
		v.Set("service", q.Service)
	}
	body, err := c.do(ctx, http.MethodGet, "/v1/events?"+v.Encode(), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	for lines := json.NewDecoder(body); ; {
		var r event.Record
		err := lines.Decode(&r)
		switch {
		case err == nil:
			if err := emit(r); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF) && !q.Follow:
			return nil
		default:
			return Errorf(Unreachable, "the node at %s went away: it was stopped, or is being replaced", c.socket)
		}
	}
}

// call sends in and reads the answer into out, where they are not nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	body, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return Errorf(Internal, "the node at %s answered what this version does not understand (%v): use the same version on both sides", c.socket, err)
	}
	return nil
}

// do sends a request and returns the body of a good answer.
func (c *Client) do(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var content io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, Errorf(Invalid, "%v", err)
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://node"+path, content)
	if err != nil {
		return nil, Errorf(Invalid, "%v", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return nil, errorOf(resp.StatusCode, b)
}

// unreachable says why nobody answered, and what to do.
func (c *Client) unreachable(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case errors.Is(err, fs.ErrPermission):
		return Errorf(Unreachable, "this user may not talk to the node at %s: use the user who runs `backstay run`, or root", c.socket)
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return Errorf(Unreachable, "the node at %s does not answer in time: it may hang; see its log", c.socket)
	}
	return Errorf(Unreachable, "no node answers at %s: is `backstay run` running? Use --socket, or $BACKSTAY_SOCKET, if its socket is elsewhere", c.socket)
}
