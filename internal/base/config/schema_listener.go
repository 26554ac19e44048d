package config

// Listener is where clients connect. One with routes serves HTTP, one with a service or sni serves TCP.
type Listener struct {
	// Name is how metrics and people refer to it; the address where not given.
	Name string `yaml:"name"`
	// Listen is the address: host:port, :port, or unix:/path.
	Listen string `yaml:"listen" required:"true"`
	// Routes say which HTTP requests go where; the first that matches is taken.
	Routes []Route `yaml:"routes" config:"one"`
	// Service takes every TCP session.
	Service string `yaml:"service" config:"one"`
	// Standbys sends the service's sessions to its standbys, to read from, rather than to its primary.
	Standbys *Standbys `yaml:"standbys"`
	// KeepSessions knows PostgreSQL's protocol: a client's session that is idle survives a change of the primary, and a switchover lets transactions end first. Only in front of a service with the engine postgres. With tls, clients connect with sslmode=require or better.
	KeepSessions bool `yaml:"keep_sessions"`
	// SNI sends TLS sessions on by the name they ask for, without opening them.
	SNI []SNIRoute `yaml:"sni" config:"one"`
	// TLS ends TLS here.
	TLS *ListenerTLS `yaml:"tls"`
	// ProxyProtocol lists the addresses (networks) that announce their clients with PROXY protocol v1 or v2. From there it is required, from elsewhere it is refused.
	ProxyProtocol []string `yaml:"proxy_protocol"`
	// Forwarded says whom to believe about where requests come from, and what members are told.
	Forwarded Forwarded `yaml:"forwarded"`
	// Timeout bounds each phase of a client's connection.
	Timeout ClientTimeout `yaml:"timeout"`
	// Limits bound what clients may ask for.
	Limits Limits `yaml:"limits"`
	// HTTP2 offers HTTP/2 to clients.
	HTTP2 bool `yaml:"http2" default:"true"`
	// Priority is how much requests matter where neither their route nor a trusted client says: under overload the least important are refused first.
	Priority string `yaml:"priority" default:"normal" enum:"critical+,critical,high,normal,sheddable,low"`
	// Rate bounds how many requests there may be in a time; more are refused with 429.
	Rate *Rate `yaml:"rate"`
}

// Standbys are those members of a service with an engine that follow its primary. Sessions go to those that stream and are not too far behind, by the service's balance; the listener has a pool of its own, named SERVICE@LISTENER.
type Standbys struct {
	// MaxLag is for how long the primary may have had something that a standby has not applied, as far as this node hears of both. A standby beyond it gets no sessions until it is within half of it again.
	MaxLag Duration `yaml:"max_lag" default:"10s" min:"1s" config:"shorthand"`
	// MaxLagBytes is how much of the primary's log a standby may not have applied; no bound where not given.
	MaxLagBytes Size `yaml:"max_lag_bytes"`
	// OrPrimary sends sessions to the primary while no standby can serve; otherwise they are held.
	OrPrimary bool `yaml:"or_primary"`
	// Drain is for how long sessions may go on at a standby that is too far behind, gone, or the primary now; without it they are cut at once. Sessions at a primary that loses its authority always are.
	Drain Duration `yaml:"drain"`
}

// SNIRoute sends TLS sessions on by the name they ask for.
type SNIRoute struct {
	// Names are host names; *.example.org takes any one label, * takes the rest.
	Names []string `yaml:"names" required:"true"`
	// Service takes the sessions.
	Service string `yaml:"service" required:"true"`
}

// ListenerTLS ends TLS.
type ListenerTLS struct {
	// Certificates are chosen by the name a client asks for; the first is used where none fits. Files are read again when they change.
	Certificates []Certificate `yaml:"certificates" required:"true" config:"shorthand"`
	// ClientCA is a file with the authorities of clients' certificates.
	ClientCA string `yaml:"client_ca"`
	// ClientAuth says whether clients must show one.
	ClientAuth string `yaml:"client_auth" default:"none" enum:"none,optional,require"`
	// MinVersion is the oldest TLS accepted.
	MinVersion string `yaml:"min_version" default:"1.2" enum:"1.2,1.3"`
}

// Certificate is a certificate chain with its key, both PEM files.
type Certificate struct {
	// Cert is the file with the chain.
	Cert string `yaml:"cert" required:"true"`
	// Key is the file with the private key.
	Key string `yaml:"key" required:"true"`
}

// Forwarded says whom to believe about where requests come from.
type Forwarded struct {
	// Trust lists addresses (networks) of proxies in front whose Forwarded and X-Forwarded-* headers, X-Request-Id and trace context are kept, and whose Backstay-Priority and Backstay-Timeout are believed; from others they are replaced or left out.
	Trust []string `yaml:"trust"`
	// Headers are what members are told: x-forwarded (X-Forwarded-For, -Proto, -Host), forwarded (RFC 7239), both or none.
	Headers string `yaml:"headers" default:"x-forwarded" enum:"x-forwarded,forwarded,both,none"`
}

// ClientTimeout bounds each phase of a client's connection. 0 is no bound.
type ClientTimeout struct {
	// Head is for the whole head of a request, and the TLS handshake.
	Head Duration `yaml:"head" default:"10s"`
	// BodyIdle is for the silence between two pieces of a request's body, and for a client that does not take its answer.
	BodyIdle Duration `yaml:"body_idle" default:"30s"`
	// Idle is for a connection without a request, or a TCP session without a byte.
	Idle Duration `yaml:"idle" default:"75s"`
}

// Limits bound what clients may ask for.
type Limits struct {
	// Connections is how many there may be at once on this listener; more wait in the kernel's queue.
	Connections int `yaml:"connections" default:"100000" min:"1"`
	// Head is how large the head of a request may be.
	Head Size `yaml:"head" default:"32KiB" min:"1KiB" max:"1MiB"`
	// Headers is how many it may have.
	Headers int `yaml:"headers" default:"100" min:"1" max:"1000"`
	// Body is how large a request's body may be; 0 is no bound.
	Body Size `yaml:"body"`
	// Requests is how many one connection may carry; 0 is no bound.
	Requests int `yaml:"requests" min:"0"`
}

// Route says which requests go where. It has exactly one of service, split, redirect or respond.
type Route struct {
	// Name is how metrics, logs and people refer to it; its position where not given.
	Name string `yaml:"name"`
	// Match says which requests; without it all.
	Match Match `yaml:"match"`
	// Service takes them.
	Service string `yaml:"service" config:"one"`
	// Split shares them among services by weight: a canary.
	Split []Split `yaml:"split" config:"one"`
	// Redirect sends clients elsewhere.
	Redirect *Redirect `yaml:"redirect" config:"one"`
	// Respond answers with fixed content.
	Respond *Respond `yaml:"respond" config:"one"`
	// Mirror sends a copy to a second service and throws its answer away.
	Mirror *Mirror `yaml:"mirror"`
	// Cache lets the cache of the service take part, where it has one.
	Cache bool `yaml:"cache" default:"true"`
	// Rewrite changes the path before members see it.
	Rewrite *Rewrite `yaml:"rewrite"`
	// RequestHeaders changes what members see.
	RequestHeaders *HeaderEdit `yaml:"request_headers"`
	// ResponseHeaders changes what clients see.
	ResponseHeaders *HeaderEdit `yaml:"response_headers"`
	// Timeout replaces the service's own for these requests.
	Timeout *Timeout `yaml:"timeout"`
	// Retry replaces the service's own for these requests.
	Retry *Retry `yaml:"retry"`
	// Priority is how much these requests matter: under overload the least important are refused first. High is critical, low is sheddable; the listener's where not given.
	Priority string `yaml:"priority" enum:",critical+,critical,high,normal,sheddable,low"`
	// Rate bounds how many of these requests there may be in a time; more are refused with 429.
	Rate *Rate `yaml:"rate"`
}

// Match says which requests a route takes; all that is given must hold.
type Match struct {
	// Host is the name asked for; *.example.org takes any one label.
	Host string `yaml:"host"`
	// Path is a prefix, in whole segments: /api takes /api and /api/x, not /apix; one that ends in / takes all below it.
	Path string `yaml:"path" config:"shorthand"`
	// Exact is the whole path.
	Exact string `yaml:"exact"`
	// Regex matches the whole path (RE2).
	Regex string `yaml:"regex"`
	// Method lists methods.
	Method []string `yaml:"method"`
	// Headers must be there and match these regular expressions (RE2) as a whole.
	Headers map[string]string `yaml:"headers"`
}

// Split is one share.
type Split struct {
	// Service takes the share.
	Service string `yaml:"service" required:"true"`
	// Weight is the share against the others'.
	Weight int `yaml:"weight" default:"1" min:"0" max:"10000"`
}

// Redirect sends clients elsewhere. What is not given stays as it was.
type Redirect struct {
	// Scheme is the new one.
	Scheme string `yaml:"scheme" enum:",http,https"`
	// Host is the new host, with a port where it needs one.
	Host string `yaml:"host"`
	// Path is the new path; the query stays.
	Path string `yaml:"path"`
	// Status is the code.
	Status int `yaml:"status" default:"308" enum:"301,302,303,307,308"`
}

// Mirror sends a copy to a second service.
type Mirror struct {
	// Service gets the copies.
	Service string `yaml:"service" required:"true" config:"shorthand"`
	// Share is how many of the requests are copied.
	Share Percent `yaml:"share" default:"100%"`
}

// Rewrite changes the path before members see it. It has one of strip, or regex with to; prefix may join strip.
type Rewrite struct {
	// Strip takes this prefix off.
	Strip string `yaml:"strip"`
	// Prefix puts this in front.
	Prefix string `yaml:"prefix"`
	// Regex finds what to replace in the path (RE2).
	Regex string `yaml:"regex"`
	// To replaces it; $1 is the first group.
	To string `yaml:"to"`
	// Host replaces the Host header.
	Host string `yaml:"host"`
}

// HeaderEdit changes headers: remove, then set, then add.
type HeaderEdit struct {
	// Remove takes headers away.
	Remove []string `yaml:"remove"`
	// Set replaces headers.
	Set map[string]Secret `yaml:"set"`
	// Add adds headers.
	Add map[string]Secret `yaml:"add"`
}
