package config

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
	// Hedge asks another member when the first takes unusually long, and takes the answer that comes first.
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

// Hold lets requests wait while no member can serve, instead of failing them.
type Hold struct {
	// For is how long one waits at most; 0 turns holding off.
	For Duration `yaml:"for" default:"2s" config:"shorthand"`
	// Requests is how many wait at once.
	Requests int `yaml:"requests" default:"1000" min:"0"`
	// Bytes is how much their bodies may take in memory together.
	Bytes Size `yaml:"bytes" default:"16MiB"`
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
