package telemetry

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// Access is one line of the access log: a finished request or TCP session. Names come from the configuration; byte
// slices may refer to the caller's buffers, as Write copies them.
type Access struct {
	Time      time.Time // when the first byte came
	Listener  string
	Route     string
	Service   string
	Member    string         // the one whose answer the client got
	Client    netip.AddrPort // who asked; left out when it is not valid
	Method    []byte
	Host      []byte
	Path      []byte // with the query
	UserAgent []byte
	Referer   []byte
	Proto     string // HTTP/1.1, HTTP/2.0, TCP
	RequestID []byte
	Trace     Trace
	Status    int
	Took      time.Duration // from the first byte to the last of the answer
	Wait      time.Duration // of that, in queues and holding
	Upstream  time.Duration // of that, until the member's head arrived
	In, Out   int64         // bytes of body from and to the client
	Tries     int
	Note      string // why it ended as it did, where that is not plain: "timeout: first byte", "fallback", …
}

// AccessOptions configures an AccessLog.
type AccessOptions struct {
	Config  config.AccessLog
	Out     io.Writer // where lines go without a path; standard output when nil
	Queue   int       // lines that may wait to be written; 4096 when 0
	Metrics *Metrics  // counts lines written and dropped
	Log     *slog.Logger
}

// AccessLog writes JSON lines about requests, off the hot path. A nil *AccessLog wants nothing.
type AccessLog struct {
}

// NewAccessLog makes an AccessLog; lines are written while Run runs.
func NewAccessLog(o AccessOptions) *AccessLog { panic("not yet") }

// Wants says whether a request with this status leaves a line. Ask once for each request: when sampled it is a
// matter of chance, except for 5xx, which always do.
func (a *AccessLog) Wants(status int) bool { panic("not yet") }

// Write queues a line. It never waits: when the queue is full the line is dropped and counted.
func (a *AccessLog) Write(line *Access) { panic("not yet") }

// Run writes queued lines until ctx ends, then those still queued.
func (a *AccessLog) Run(ctx context.Context) error { panic("not yet") }

// Reopen opens the file again, so that whoever rotates it can move it away first.
func (a *AccessLog) Reopen() { panic("not yet") }

// Set applies another configuration from now on and opens the file again.
func (a *AccessLog) Set(cfg config.AccessLog) { panic("not yet") }

// CheckAccessLog says whether the file of this configuration can be written, for staging a reload.
func CheckAccessLog(cfg config.AccessLog) error { panic("not yet") }
