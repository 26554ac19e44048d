package config

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
