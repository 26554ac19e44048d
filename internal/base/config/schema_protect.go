package config

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
	// Shared bounds what comes to all nodes of the cluster together, and not to each: every node has a share of the rate, which follows what is asked of it. The shares are leased in the store that the nodes have in common. A node that cannot reach it keeps its share until the lease is over, and has no more than an equal part then; no request waits for the store. Only with per: service.
	Shared bool `yaml:"shared"`
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

// Hedge asks another member when the first takes unusually long, and where max says so further ones when that takes as long again. The first good answer counts, and the others are cancelled. Only requests without a body that may be repeated are hedged; each hedge counts as a retry for the budget.
type Hedge struct {
	// Quantile says what is unusual: to take longer than so many of the recent requests.
	Quantile Percent `yaml:"quantile" default:"99%" min:"50" config:"shorthand"`
	// Max is how many further members are asked, each one that was not asked yet.
	Max int `yaml:"max" default:"1" min:"1" max:"5"`
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
