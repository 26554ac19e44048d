package config

// Config is the desired state of one cluster. One file describes it and every node reads the same one.
type Config struct {
	// Cluster names the cluster. Nodes of differently named clusters never talk to each other.
	Cluster string `yaml:"cluster" default:"backstay"`
	// Nodes are the machines that run Backstay. Without any, the node that reads the file is the only one.
	Nodes []Node `yaml:"nodes"`
	// Store is where several nodes agree; it matters where a service has an engine.
	Store *Store `yaml:"store"`
	// Services are what clients want: a name for members of which any, or one, can do the work.
	Services []Service `yaml:"services"`
	// Listeners are where clients connect.
	Listeners []Listener `yaml:"listeners"`
	// PriorityTokens are signed priorities that anybody may send, in the header Backstay-Priority-Token.
	PriorityTokens *PriorityTokens `yaml:"priority_tokens"`
	// Modes are named ways to do less, which begin by themselves under overload, or by hand.
	Modes []Mode `yaml:"modes"`
	// Metrics says where Prometheus may scrape this node.
	Metrics *Metrics `yaml:"metrics"`
	// AccessLog says which requests leave a line behind.
	AccessLog AccessLog `yaml:"access_log"`
	// Tracing sends OpenTelemetry spans of requests to a collector.
	Tracing *Tracing `yaml:"tracing"`
	// Shutdown says how a node takes its leave.
	Shutdown Shutdown `yaml:"shutdown"`
}

// Node is one machine that runs Backstay.
type Node struct {
	// Name is what `--node` or the host name is matched against.
	Name string `yaml:"name" required:"true"`
	// Region is where the machine stands, such as a data centre.
	Region string `yaml:"region"`
	// Zone is a part of the region that fails on its own; traffic prefers members of the node's own zone.
	Zone string `yaml:"zone"`
	// Address is where the other nodes reach this one.
	Address string `yaml:"address"`
}

// Service is what clients want.
type Service struct {
	// Name is how routes, metrics and people refer to the service.
	Name string `yaml:"name" required:"true"`
	// Protocol is what the members speak: http1, or http2 (over TLS, or with prior knowledge without it). It means nothing to TCP listeners.
	Protocol string `yaml:"protocol" default:"http1" enum:"http1,http2"`
	// Members are the instances of the service. A service with an engine has none: they are its nodes'.
	Members []Member `yaml:"members"`
	// Engine makes the service active-passive: one primary takes all work, standbys stand by.
	Engine *Engine `yaml:"engine"`
	// Balance says which member a request goes to.
	Balance Balance `yaml:"balance"`
	// Check looks at every member on a schedule. Without one, members count as up until live traffic shows otherwise.
	Check *Check `yaml:"check"`
	// Outlier takes members out for what live traffic shows of them.
	Outlier Outlier `yaml:"outlier"`
	// Timeout bounds each phase of a request to a member.
	Timeout Timeout `yaml:"timeout"`
	// Retry sends what failed to another member where that is safe.
	Retry Retry `yaml:"retry"`
	// Breaker stops sending to what keeps failing.
	Breaker Breaker `yaml:"breaker"`
	// Limit bounds how many requests are at work at once, and how many wait.
	Limit *Limit `yaml:"limit"`
	// Rate bounds how many requests there may be in a time; more are refused with 429.
	Rate *Rate `yaml:"rate"`
	// Shed refuses the least important requests first while the service has more to do than it can. It is on where the limit is adaptive, else off.
	Shed *Shed `yaml:"shed"`
	// Hedge asks a second member when the first takes unusually long, and takes the answer that comes first.
	Hedge *Hedge `yaml:"hedge"`
	// Hold lets requests wait while no member can serve, instead of failing them. A service with a fallback does not hold unless this is given: it has an answer at once. One with an engine holds for 30s unless told otherwise: so long may a failover take.
	Hold Hold `yaml:"hold"`
	// Fallback is what clients get when the service cannot answer, or answers 500, 502, 503 or 504 in the end; asked in order. Answers 5xx to requests that may have changed something (POST, PUT, DELETE) stay.
	Fallback []Fallback `yaml:"fallback"`
	// Cache keeps answers and gives them to others, as HTTP allows (RFC 9111).
	Cache *Cache `yaml:"cache"`
	// TLS speaks TLS to the members.
	TLS *MemberTLS `yaml:"tls"`
	// ProxyProtocol tells members the client's address ahead of each connection.
	ProxyProtocol string `yaml:"proxy_protocol" enum:",v1,v2"`
	// Connections bounds the connections that are kept to each member.
	Connections Connections `yaml:"connections"`
	// OnMemberDown says what becomes of TCP sessions and upgraded connections of a member that goes down.
	OnMemberDown string `yaml:"on_member_down" default:"cut" enum:"cut,drain"`
	// DrainTimeout ends what a drained member still has at work after this time.
	DrainTimeout Duration `yaml:"drain_timeout" default:"30s"`
}

// Member is one instance of a service.
type Member struct {
	// Name is how people refer to the member; the address where not given.
	Name string `yaml:"name"`
	// Address is host:port, unix:/path, or srv:_service._proto.domain. A host name is looked up again and again; each address it has is a member.
	Address string `yaml:"address" required:"true" config:"shorthand"`
	// Zone is where the member stands.
	Zone string `yaml:"zone"`
	// Weight is its share of the traffic against its siblings'.
	Weight int `yaml:"weight" default:"1" min:"0" max:"1000"`
	// Priority is its tier: members of a higher number are spares, which take over as the tiers before them shrink.
	Priority int `yaml:"priority" default:"0" min:"0" max:"9"`
}

// Balance says which member a request goes to.
type Balance struct {
	// Policy is one of: p2c (the better of two random members by latency and load), round_robin, least_requests, hash.
	Policy string `yaml:"policy" default:"p2c" enum:"p2c,round_robin,least_requests,hash" config:"shorthand"`
	// Hash says what consistent hashing goes by.
	Hash *Hash `yaml:"hash"`
	// Sticky keeps a client on its member by a cookie.
	Sticky *Sticky `yaml:"sticky"`
	// PreferZone keeps traffic in the node's own zone while the members there have room.
	PreferZone bool `yaml:"prefer_zone" default:"true"`
	// Panic is the share of members that must be up for checks to be believed: with fewer, all are used, as checks alone never take everything down.
	Panic Percent `yaml:"panic" default:"50%"`
	// SlowStart lets a new or recovered member's share grow over this time.
	SlowStart Duration `yaml:"slow_start" default:"10s"`
}

// Hash is what consistent hashing goes by: exactly one of header, cookie, path or client.
type Hash struct {
	// Header names a request header.
	Header string `yaml:"header" config:"one"`
	// Cookie names a cookie.
	Cookie string `yaml:"cookie" config:"one"`
	// Path takes the request's path.
	Path bool `yaml:"path" config:"one"`
	// Client takes the client's address.
	Client bool `yaml:"client" config:"one"`
	// Bound is how far over its fair share a member may be loaded before the next one on the ring is taken (consistent hashing with bounded loads).
	Bound float64 `yaml:"bound" default:"1.25" min:"1.01" max:"10"`
}

// Sticky keeps a client on its member by a cookie.
type Sticky struct {
	// Cookie is its name.
	Cookie string `yaml:"cookie" default:"backstay" config:"shorthand"`
	// TTL is how long the client keeps it; 0 is until the browser closes.
	TTL Duration `yaml:"ttl" default:"0s"`
}

// Check looks at a member on a schedule. It has exactly one of http, tcp, grpc, exec, all or any; within all and any only timeout and port can be set besides.
type Check struct {
	// HTTP asks for a page.
	HTTP *HTTPCheck `yaml:"http" config:"one"`
	// TCP connects, and may send and expect bytes.
	TCP *TCPCheck `yaml:"tcp" config:"one"`
	// GRPC asks grpc.health.v1.
	GRPC *GRPCCheck `yaml:"grpc" config:"one"`
	// Exec runs a command; exit code 0 is good. MEMBER_ADDRESS, MEMBER_NAME and SERVICE_NAME are in its environment.
	Exec *ExecCheck `yaml:"exec" config:"one"`
	// All is good when each of these checks is.
	All []Check `yaml:"all" config:"one"`
	// Any is good when one of these checks is.
	Any []Check `yaml:"any" config:"one"`
	// Every is the time between two looks.
	Every Duration `yaml:"every" default:"2s" min:"10ms"`
	// EveryDown is the time between two looks while the member is down; the same as every where not given.
	EveryDown Duration `yaml:"every_down" min:"10ms"`
	// Jitter spreads the looks: each waits up to this share of the interval longer or shorter.
	Jitter Percent `yaml:"jitter" default:"10%" max:"50"`
	// Timeout is how long one look may take.
	Timeout Duration `yaml:"timeout" default:"1s" min:"1ms"`
	// Rise is how many good looks in a row make a member up.
	Rise int `yaml:"rise" default:"2" min:"1" max:"100"`
	// Fall is how many bad looks in a row make a member down.
	Fall int `yaml:"fall" default:"3" min:"1" max:"100"`
	// Grace is how long a new member may fail its looks without being called down: it counts as starting, and gets no traffic, until its first good look or the end of the grace.
	Grace Duration `yaml:"grace" default:"0s"`
	// Port is looked at instead of the member's own.
	Port int `yaml:"port" min:"0" max:"65535"`
}

// HTTPCheck asks for a page.
type HTTPCheck struct {
	// Path is asked for.
	Path string `yaml:"path" default:"/" config:"shorthand"`
	// Method is used.
	Method string `yaml:"method" default:"GET"`
	// Host is sent as the Host header; the member's address where not given.
	Host string `yaml:"host"`
	// Headers are sent along.
	Headers map[string]string `yaml:"headers"`
	// Status lists the good answers, such as 200, 2xx or 200-399.
	Status []string `yaml:"status" default:"2xx,3xx"`
	// Body is a regular expression that the first 64 KiB of the answer must match.
	Body string `yaml:"body"`
	// ExpectHeaders are regular expressions that the answer's headers must match.
	ExpectHeaders map[string]string `yaml:"expect_headers"`
	// TLS asks over TLS; the service's own TLS settings are used where this is not given.
	TLS *MemberTLS `yaml:"tls"`
}

// TCPCheck connects, and may send and expect bytes.
type TCPCheck struct {
	// Send is written after connecting; \r, \n, \t and \xNN are understood.
	Send string `yaml:"send"`
	// Expect is a regular expression that the first 4 KiB of what comes back must match.
	Expect string `yaml:"expect"`
}

// GRPCCheck asks grpc.health.v1.
type GRPCCheck struct {
	// Service is the name asked about; empty asks about the server as a whole.
	Service string `yaml:"service" config:"shorthand"`
	// TLS asks over TLS; the service's own TLS settings are used where this is not given.
	TLS *MemberTLS `yaml:"tls"`
}

// ExecCheck runs a command.
type ExecCheck struct {
	// Command is the program and its arguments; no shell is involved.
	Command []string `yaml:"command" required:"true" config:"shorthand"`
}

// Outlier takes members out for what live traffic shows of them. At least one member always stays.
type Outlier struct {
	// Off turns it off; so does the word off in place of the whole section.
	Off bool `yaml:"off" config:"off"`
	// Consecutive is how many failures in a row take a member out.
	Consecutive int `yaml:"consecutive" default:"5" min:"1" max:"1000"`
	// FailureRate takes a member out when so many of its requests in the window failed, and its siblings fail clearly less.
	FailureRate Percent `yaml:"failure_rate" default:"50%"`
	// Latency takes a member out when it is this many times slower than both its own history and its siblings; 0 turns this off.
	Latency float64 `yaml:"latency" default:"5" min:"0" max:"1000"`
	// Window is the time looked back on.
	Window Duration `yaml:"window" default:"10s" min:"100ms" max:"10m"`
	// Volume is how many requests a member must have had in the window to be judged by a rate or a latency.
	Volume int `yaml:"volume" default:"20" min:"1"`
	// Ejection is how long the first ejection lasts; each further one lasts longer, with jitter. A good look of the check ends it early.
	Ejection Duration `yaml:"ejection" default:"10s" min:"100ms"`
	// MaxEjection bounds it.
	MaxEjection Duration `yaml:"max_ejection" default:"5m"`
}

// Timeout bounds each phase of a request to a member. 0 is no bound.
type Timeout struct {
	// Connect is for the connection to the member, TLS included.
	Connect Duration `yaml:"connect" default:"1s"`
	// FirstByte is for one try: from the request being sent to the head of the answer.
	FirstByte Duration `yaml:"first_byte" default:"15s"`
	// Idle is for the silence between two reads or writes of a body, a TCP session or an upgraded connection.
	Idle Duration `yaml:"idle" default:"1m"`
	// Total is for the whole request, retries and holding included.
	Total Duration `yaml:"total" default:"0s"`
}

// Retry sends what failed to another member where that is safe: the request provably was not processed, or its method may be repeated.
type Retry struct {
	// Attempts is how often a request is tried at most, the first time included; 1 turns retries off.
	Attempts int `yaml:"attempts" default:"3" min:"1" max:"10" config:"shorthand"`
	// Initial is the upper end of the first delay; the delay itself is random between 0 and that (full jitter).
	Initial Duration `yaml:"initial" default:"25ms" min:"1ms"`
	// Factor grows the upper end with each further try.
	Factor float64 `yaml:"factor" default:"2" min:"1" max:"10"`
	// Max bounds the upper end.
	Max Duration `yaml:"max" default:"1s"`
	// Budget is how many retries there may be at once for each request at work; three are always allowed.
	Budget Percent `yaml:"budget" default:"20%"`
	// On lists what is retried: connect, reset (before any byte of the answer), timeout (of the first byte), and status codes.
	On []string `yaml:"on" default:"connect,reset,timeout,502,503,504"`
	// Body is how much of a request's body is kept for another try; what is larger is sent once.
	Body Size `yaml:"body" default:"64KiB" max:"16MiB"`
	// Unsafe retries methods that are not idempotent (POST, PATCH) too. Only for services that recognise repeats themselves.
	Unsafe bool `yaml:"unsafe"`
}

// Breaker stops sending to what keeps failing: closed, open, half-open.
type Breaker struct {
	// Off turns it off; so does the word off in place of the whole section.
	Off bool `yaml:"off" config:"off"`
	// Consecutive is how many failures in a row open it.
	Consecutive int `yaml:"consecutive" default:"10" min:"1"`
	// FailureRate opens it when so many of the requests in the window failed.
	FailureRate Percent `yaml:"failure_rate" default:"60%"`
	// Volume is how many requests the window must hold before a rate opens it.
	Volume int `yaml:"volume" default:"20" min:"1"`
	// Window is the time looked back on.
	Window Duration `yaml:"window" default:"10s" min:"100ms" max:"10m"`
	// Reset is how long it stays open the first time; it doubles with each failed trial, with jitter.
	Reset Duration `yaml:"reset" default:"1s" min:"10ms"`
	// MaxReset bounds it.
	MaxReset Duration `yaml:"max_reset" default:"1m"`
	// Probes is how many requests may try a half-open breaker at once.
	Probes int `yaml:"probes" default:"1" min:"1" max:"100"`
	// Service sets a second breaker over the service as a whole, which fails requests at once, to the fallback where there is one.
	Service bool `yaml:"service"`
}

// Limit bounds how many requests, or TCP sessions, are at work at once, and how many wait.
type Limit struct {
	// Concurrency is how many are at work at once in the whole service. Of an adaptive limit it is the most, 1000 where not given.
	Concurrency int `yaml:"concurrency" min:"0" config:"shorthand"`
	// Adaptive finds the number by itself: as many as keep the service busy without queueing inside it. The word adaptive in place of the whole section is enough.
	Adaptive bool `yaml:"adaptive" config:"word"`
	// Min is the fewest that an adaptive limit goes down to.
	Min int `yaml:"min" default:"2" min:"1"`
	// Client is how many of one client (its address) are at work at once; 0 is no bound.
	Client int `yaml:"client" min:"0"`
	// Member is how many are at work at once on each member; 0 is no bound.
	Member int `yaml:"member" min:"0"`
	// Queue is how many wait for a place, the most important first; more are refused at once with 503, the least important first.
	Queue int `yaml:"queue" default:"100" min:"0"`
	// Wait is how long one waits at most.
	Wait Duration `yaml:"wait" default:"1s"`
}

// Rate bounds requests in a time, with a burst after a rest (token bucket).
type Rate struct {
	// Requests is how many there may be: 100/s, 600/m or 1000/h.
	Requests string `yaml:"requests" required:"true" config:"shorthand"`
	// Burst is how many may come at once after a rest; those of a tenth of a second, and at least 1, where not given.
	Burst int `yaml:"burst" min:"0"`
	// Per says whose requests are counted together: all of them (service), those of one client (its address), or of one value of a header. On a route or listener, service means all that it takes.
	Per string `yaml:"per" default:"service" enum:"service,client,header"`
	// Header names the header with per: header, such as Authorization. Requests without it count as one.
	Header string `yaml:"header"`
	// Keys is how many clients, or values, are told apart at once; the one that has been quiet for longest makes room.
	Keys int `yaml:"keys" default:"10000" min:"16" max:"1000000"`
}

// Shed refuses the least important requests first while the service has more to do than it can, so that the rest keeps its latency. What matters how much is said by priority, on routes and listeners.
type Shed struct {
	// Off turns it off; so does the word off in place of the whole section.
	Off bool `yaml:"off" config:"off"`
	// Target is how long requests may wait for a place under the limit at all times without that being overload. Without a limit, one that is adaptive is set.
	Target Duration `yaml:"target" default:"5ms" min:"100us"`
	// Interval is how often the admission level is adjusted. Waiting for longer than the target throughout an interval is overload.
	Interval Duration `yaml:"interval" default:"100ms" min:"10ms"`
}

// Hedge asks a second member when the first takes unusually long. Only requests without a body that may be repeated are hedged; each hedge counts as a retry for the budget.
type Hedge struct {
	// Quantile says what is unusual: to take longer than so many of the recent requests.
	Quantile Percent `yaml:"quantile" default:"99%" min:"50" config:"shorthand"`
	// Max is how many further members are asked.
	Max int `yaml:"max" default:"1" min:"1" max:"1"`
	// After is the least time before another is asked.
	After Duration `yaml:"after" default:"1ms"`
}

// PriorityTokens are signed priorities: an application gives one to a client when that logs in, say, and the client's requests have that priority while the token is good. Applications sign them with package resilience (Tokens).
type PriorityTokens struct {
	// Keys are those in use; all verify. To change one without refusing anybody, add the new one everywhere before anything is signed with it.
	Keys []TokenKey `yaml:"keys" required:"true"`
}

// TokenKey is a secret that signs priorities.
type TokenKey struct {
	// ID is how tokens refer to the key: up to 16 letters, digits, dashes and underscores.
	ID string `yaml:"id" required:"true"`
	// Secret is what signs: at least 16 bytes, 32 random ones are right.
	Secret Secret `yaml:"secret" required:"true"`
}

// Mode is a named way to do less. While it is on, members are told so in the header Backstay-Degraded, and the service, where one is given, is spared: its requests get the mode's answer, or the service's fallback.
type Mode struct {
	// Name is how applications and people refer to it, such as recommendations-off.
	Name string `yaml:"name" required:"true" config:"shorthand"`
	// When says what turns it on; by hand only (backstay degrade) where not given.
	When *ModeWhen `yaml:"when"`
	// Service is spared while the mode is on.
	Service string `yaml:"service"`
	// Respond is what its clients get; the service's fallback where not given.
	Respond *Respond `yaml:"respond"`
}

// ModeWhen says what turns a mode on. It turns on soon and off late, so that it does not flap.
type ModeWhen struct {
	// Shedding is a service that sheds requests.
	Shedding string `yaml:"shedding" config:"one"`
	// Breaker is a service whose own breaker, or that of so many of its members, is open.
	Breaker string `yaml:"breaker" config:"one"`
	// Level is the share of requests shed, or of breakers open, from which on the mode is asked for; under half of it, it is not any more.
	Level Percent `yaml:"level" default:"20%" min:"1"`
	// For is how long that must last to turn it on.
	For Duration `yaml:"for" default:"1s" min:"100ms"`
	// Rest is how long it must be over to turn it off.
	Rest Duration `yaml:"rest" default:"10s" min:"100ms"`
}

// Hold lets requests wait while no member can serve, instead of failing them.
type Hold struct {
	// For is how long one waits at most; 0 turns holding off.
	For Duration `yaml:"for" default:"2s" config:"shorthand"`
	// Requests is how many wait at once.
	Requests int `yaml:"requests" default:"1000" min:"0"`
	// Bytes is how much their bodies may take in memory together.
	Bytes Size `yaml:"bytes" default:"16MiB"`
}

// Fallback is one answer for when the service cannot give its own.
type Fallback struct {
	// Cache gives the last good answer, where one is stored that HTTP allows to share, for so long after it went stale. What the service forbids to store, or to give without asking, is not given.
	Cache Duration `yaml:"cache" config:"one" min:"1s"`
	// Service asks another service. What it answers counts, unless that is 500, 502, 503 or 504; its own fallback is not asked. Only requests that can be sent again go there.
	Service string `yaml:"service" config:"one"`
	// Respond answers with fixed content.
	Respond *Respond `yaml:"respond" config:"one"`
}

// Cache keeps answers and gives them to others, as HTTP allows. Answers say themselves how long they are fresh (Cache-Control, Expires).
type Cache struct {
	// Memory bounds what is kept in memory.
	Memory Size `yaml:"memory" default:"64MiB" min:"1MiB" config:"shorthand"`
	// MaxEntry is the largest answer that is kept; never more than an eighth of memory.
	MaxEntry Size `yaml:"max_entry" default:"1MiB" min:"1KiB"`
	// Disk keeps answers in files too, where they survive a restart.
	Disk *CacheDisk `yaml:"disk"`
	// Wait is how long requests wait for the answer to another that asked for the same, before they ask themselves; 0 turns that off.
	Wait Duration `yaml:"wait" default:"5s"`
	// Waiters is how many wait so at once.
	Waiters int `yaml:"waiters" default:"1000" min:"1"`
	// Heuristic is the share of the time since its last change for which an answer counts as fresh that says nothing about it; a day at most.
	Heuristic Percent `yaml:"heuristic" default:"10%"`
	// SetCookie shares answers that set cookies too. Only for services whose cookies are the same for everybody.
	SetCookie bool `yaml:"set_cookie"`
	// Serve gives answers while the service works; false keeps them for the fallback only.
	Serve bool `yaml:"serve" default:"true"`
	// Status tells clients in a Cache-Status header (RFC 9211) what the cache did.
	Status bool `yaml:"status" default:"true"`
}

// CacheDisk keeps answers in files.
type CacheDisk struct {
	// Path is the directory; each service has one of its own below it.
	Path string `yaml:"path" required:"true"`
	// Size bounds what the files take.
	Size Size `yaml:"size" default:"1GiB" min:"1MiB"`
}

// Respond is a fixed answer.
type Respond struct {
	// Status is its code.
	Status int `yaml:"status" default:"200" min:"200" max:"599" config:"shorthand"`
	// Body is its content.
	Body string `yaml:"body"`
	// Headers are sent along. Content-Type is text/plain, or application/json where the body is JSON, unless it is given here.
	Headers map[string]string `yaml:"headers"`
}

// MemberTLS speaks TLS to members.
type MemberTLS struct {
	// CA is a file with the certificates of the authorities that are trusted; the system's where not given.
	CA string `yaml:"ca"`
	// Name is what the member's certificate must be for; the host of its address where not given.
	Name string `yaml:"name"`
	// Cert is a file with this side's own certificate, where members ask for one.
	Cert string `yaml:"cert"`
	// Key is a file with the certificate's private key.
	Key string `yaml:"key"`
	// Insecure leaves the member's certificate unchecked. For trials only.
	Insecure bool `yaml:"insecure"`
	// MinVersion is the oldest TLS accepted.
	MinVersion string `yaml:"min_version" default:"1.2" enum:"1.2,1.3"`
}

// Connections bounds the connections that are kept to each member.
type Connections struct {
	// Idle is how many unused ones are kept per member.
	Idle int `yaml:"idle" default:"256" min:"0"`
	// IdleTimeout closes those unused for so long. Keep it below the member's own.
	IdleTimeout Duration `yaml:"idle_timeout" default:"30s"`
	// Max is how many there may be per member; 0 is no bound.
	Max int `yaml:"max" min:"0"`
}

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

// Metrics says where Prometheus may scrape this node.
type Metrics struct {
	// Listen is the address of the page /metrics; /healthz and /readyz stand beside it.
	Listen string `yaml:"listen" default:"127.0.0.1:9600" config:"shorthand"`
}

// AccessLog says which requests leave a line behind.
type AccessLog struct {
	// Mode is off, sampled or full. Failed requests (5xx) are always among the sampled.
	Mode string `yaml:"mode" default:"off" enum:"off,sampled,full" config:"shorthand"`
	// Sample is the share that sampled keeps.
	Sample Percent `yaml:"sample" default:"1%"`
	// Path is the file; standard output where not given. The file is opened again on a reload.
	Path string `yaml:"path"`
}

// Tracing sends OpenTelemetry spans of requests to a collector.
type Tracing struct {
	// OTLP is the collector's address: http://host:4318 (OTLP over HTTP).
	OTLP string `yaml:"otlp" required:"true" config:"shorthand"`
	// Headers are sent along, such as a token.
	Headers map[string]Secret `yaml:"headers"`
	// Sample is the share of requests that start a trace of their own; those that come with a sampled one always have spans.
	Sample Percent `yaml:"sample" default:"1%"`
}

// Shutdown says how a node takes its leave.
type Shutdown struct {
	// LameDuck is how long the node, already reported unready, still accepts connections, so that balancers in front can notice.
	LameDuck Duration `yaml:"lame_duck" default:"0s"`
	// Drain is how long work in flight may take to end.
	Drain Duration `yaml:"drain" default:"30s"`
}
