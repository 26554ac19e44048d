package transport

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// Listeners are the listening sockets of a node, one for each address, however often the configuration is read again.
type Listeners struct{ log *slog.Logger }

// NewListeners returns an empty set.
func NewListeners(log *slog.Logger) *Listeners { return &Listeners{log: log} }

// Open returns the socket that listens on addr (host:port, :port or unix:/path), the one already open where there is one.
// The error says which address and what to do about it.
func (l *Listeners) Open(addr string) (net.Listener, error) { panic("not yet") }

// Keep closes every socket but those of addrs.
func (l *Listeners) Keep(addrs ...string) { panic("not yet") }

// Close closes all sockets.
func (l *Listeners) Close() error { panic("not yet") }

// AcceptOptions say how Accept treats the connections of one listener.
type AcceptOptions struct {
	// Limit is asked before each connection how many there may be at once; nil, or a number below 1, is no bound.
	// While there are as many, accepting pauses and the kernel's queue holds the rest.
	Limit func() int
	// Handle serves one connection, in a goroutine of its own. The connection counts until it returns.
	// It must close the connection.
	Handle func(net.Conn)
	// Log hears about trouble, once for each run of it.
	Log *slog.Logger
}

// Accept takes connections from ln until ctx is done or ln is closed, and returns nil then. It does not close ln, and
// does not wait for the connections it handed out: ln may be accepted from again. Want of descriptors or memory makes it
// wait, longer each time, never give up.
func Accept(ctx context.Context, ln net.Listener, o AcceptOptions) error { panic("not yet") }

// ServerConfig is a listener's side of TLS, its certificates following their files.
type ServerConfig struct {
	// OnChange is told of each certificate or authority read again after its file changed, and of each new file that is no
	// good (Err), in which case the old content stays. Set before Run; may be nil.
	OnChange func(FileChange)
}

// FileChange is a certificate file that was read again, or could not be.
type FileChange struct {
	// File is the path.
	File string
	// NotAfter is when the new certificate expires; zero for authorities and errors.
	NotAfter time.Time
	// Err says why the old content is kept; nil when the new one is in use.
	Err error
}

// CertificateInfo describes one certificate in use.
type CertificateInfo struct {
	// File is the path of its chain.
	File string
	// Names are those it is good for.
	Names []string
	// NotAfter is when it expires.
	NotAfter time.Time
}

// ServerTLS reads the files of cfg now; an error names the file that is no good. With http2, ALPN offers h2 before http/1.1;
// see ServerTLSPlain for listeners without HTTP.
func ServerTLS(cfg *config.ListenerTLS, http2 bool) (*ServerConfig, error) { panic("not yet") }

// ServerTLSPlain is ServerTLS without ALPN, for listeners of TCP services: any protocol may be inside.
func ServerTLSPlain(cfg *config.ListenerTLS) (*ServerConfig, error) { panic("not yet") }

// Config is what to hand to tls.Server; it follows the files by itself. Safe to share and keep.
func (c *ServerConfig) Config() *tls.Config { panic("not yet") }

// Inherit takes over the session tickets of the configuration that c replaces on the same listener, so that clients
// resume across a reload; only where both trust the same clients. Call before the first use.
func (c *ServerConfig) Inherit(prev *ServerConfig) { panic("not yet") }

// Certificates lists the certificates in use, as configured.
func (c *ServerConfig) Certificates() []CertificateInfo { panic("not yet") }

// Run reads changed files again until ctx is done.
func (c *ServerConfig) Run(ctx context.Context) error { panic("not yet") }

// ClientTLS is the side of TLS towards the member at address. It reads the files of cfg now.
func ClientTLS(cfg *config.MemberTLS, address string, alpn []string) (*tls.Config, error) {
	panic("not yet")
}

// ProxyIn reads PROXY protocol headers, v1 and v2, ahead of clients' connections.
type ProxyIn struct{}

// NewProxyIn trusts the networks (addresses or prefixes); a header must be there within timeout (0: 5s).
// Without networks the protocol is not spoken.
func NewProxyIn(networks []string, timeout time.Duration) (*ProxyIn, error) { panic("not yet") }

// ProxyHeader is what a PROXY protocol header says.
type ProxyHeader struct {
	// Version is 1 or 2; 0 where no header was asked for.
	Version int
	// Source and Destination are the client's connection to the proxy in front; the connection's own
	// ends where the header has none (LOCAL, UNKNOWN, unix sockets).
	Source, Destination netip.AddrPort
}

// Accept reads the header from conn where one is due. The returned connection continues after it (it is conn itself
// where conn is a socket: nothing is buffered, so it can be spliced), client is whom the header announces. Errors match
// ErrProxyUntrusted, ErrProxyHeader or ErrProxyTimeout; the caller then closes conn.
func (p *ProxyIn) Accept(ctx context.Context, conn net.Conn) (net.Conn, netip.AddrPort, error) {
	panic("not yet")
}

// Read is Accept with all that the header says.
func (p *ProxyIn) Read(ctx context.Context, conn net.Conn) (ProxyHeader, error) { panic("not yet") }

// WriteProxyHeader writes a header of version "v1" or "v2" that announces src; without valid addresses (unix sockets,
// the node's own probes) it is UNKNOWN or LOCAL.
func WriteProxyHeader(w io.Writer, version string, src, dst netip.AddrPort) error { panic("not yet") }

// Dialer connects to members. The zero value is useful.
type Dialer struct {
	// UserTimeout is how long sent bytes may stay unacknowledged before the peer counts as dead (TCP_USER_TIMEOUT).
	// 0 is a minute, below 0 leaves it to the kernel.
	UserTimeout time.Duration
}

// Dial connects to address (host:port or unix:/path) before ctx is done. Reason classifies its errors.
func (d *Dialer) Dial(ctx context.Context, address string) (net.Conn, error) { panic("not yet") }

// Reason classifies an error of a connection in one word, for metrics and logs: refused, timeout, unreachable, reset,
// closed, eof, canceled, dns, tls, descriptors, proxy_untrusted, proxy_header, proxy_timeout, other; empty for nil.
func Reason(err error) string { panic("not yet") }
