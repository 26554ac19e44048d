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
	// Watchdog has the machine reset where the node hangs while an engine's primary runs on it. It is read when the node starts.
	Watchdog *Watchdog `yaml:"watchdog"`
}

// Watchdog is the kernel's device that resets the machine unless it is told in time that all is well. It is opened only while this node is primary of a service with an engine, and its timer is shorter than what is left of that authority.
type Watchdog struct {
	// Device is its file, such as /dev/watchdog. Its driver must not be loaded with nowayout, and nothing else (systemd's RuntimeWatchdogSec, watchdogd) may use it.
	Device string `yaml:"device" required:"true" config:"shorthand"`
	// Required refuses to start the node where the device cannot be used; otherwise that is told and the node goes on without.
	Required bool `yaml:"required"`
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
