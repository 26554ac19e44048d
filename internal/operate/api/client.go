package api

import (
	"context"

	"github.com/backstay/backstay/internal/base/event"
)

// Client asks a node over its admin socket. It is a System itself.
type Client struct{ socket string }

// Dial makes a client of the node behind this socket. Nothing is connected yet.
func Dial(socket string) *Client { return &Client{socket: socket} }

var _ System = (*Client)(nil)

// Status implements System.
func (c *Client) Status(ctx context.Context) (Status, error) { panic("not yet") }

// Reload implements System.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) { panic("not yet") }

// Drain implements System.
func (c *Client) Drain(ctx context.Context, member string) error { panic("not yet") }

// Resume implements System.
func (c *Client) Resume(ctx context.Context, member string) error { panic("not yet") }

// Events implements System.
func (c *Client) Events(ctx context.Context, q EventQuery, emit func(event.Record) error) error {
	panic("not yet")
}

// FollowLog is System.Events for an event.Log.
func FollowLog(ctx context.Context, log *event.Log, q EventQuery, emit func(event.Record) error) error {
	panic("not yet")
}
