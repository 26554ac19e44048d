package api

import "time"

// Status is the picture of a node.
type Status struct {
	Node      string           `json:"node" doc:"Name of the node"`
	Cluster   string           `json:"cluster,omitempty" doc:"Name of the cluster"`
	Zone      string           `json:"zone,omitempty" doc:"Where the node stands"`
	Version   string           `json:"version" doc:"Version of the program"`
	PID       int              `json:"pid" doc:"Process id"`
	State     NodeState        `json:"state" enum:"starting,ready,lame-duck,draining" doc:"Whether the node takes new work"`
	Started   time.Time        `json:"started" doc:"When the process began"`
	Now       time.Time        `json:"now" doc:"When this picture was taken, by the node's clock"`
	Config    ConfigStatus     `json:"config" doc:"The configuration in force"`
	Listeners []ListenerStatus `json:"listeners" doc:"Where clients connect"`
	Services  []ServiceStatus  `json:"services" doc:"What clients want, and who does the work"`
	Rates     []RateStatus     `json:"rates,omitempty" doc:"Rates that all nodes have together"`
	Modes     []ModeStatus     `json:"modes,omitempty" doc:"Degradation modes"`
}

// Uptime is how long the node has been up.
func (s Status) Uptime() time.Duration { return s.Now.Sub(s.Started) }

// NodeState says whether a node takes new work.
type NodeState string

// States of a node.
const (
	NodeStarting NodeState = "starting"  // not yet serving
	NodeReady    NodeState = "ready"     // serving
	NodeLameDuck NodeState = "lame-duck" // serving, but reported unready so that others go elsewhere
	NodeDraining NodeState = "draining"  // takes no new work, ends what it has
)

// ConfigStatus says which configuration is in force.
type ConfigStatus struct {
	Revision    string    `json:"revision" doc:"Hash of its text"`
	Source      string    `json:"source" doc:"Where it was read from"`
	Loaded      time.Time `json:"loaded" doc:"When it was applied"`
	Version     int       `json:"version,omitempty" doc:"Version of the cluster's configuration; left out where the node reads a file"`
	Applied     string    `json:"applied,omitempty" doc:"Who applied the version, when, and why"`
	Differs     string    `json:"differs,omitempty" doc:"Path of the node's file, where it says something else than the version in force; it is not used"`
	Waiting     string    `json:"waiting,omitempty" doc:"Why the cluster's newest version is not in force on this node"`
	Certificate time.Time `json:"certificate,omitzero" doc:"When this node's certificate within the cluster expires"`
	Refused     string    `json:"refused,omitempty" doc:"Why the last attempt to reload changed nothing; empty when it worked"`
}

// ListenerStatus is one listener.
type ListenerStatus struct {
	Name        string        `json:"name" doc:"Its name"`
	Address     string        `json:"address" doc:"Where it listens, with the port it really has"`
	Kind        string        `json:"kind" enum:"http,tcp,postgres" doc:"What it serves"`
	TLS         bool          `json:"tls" doc:"Whether TLS ends there"`
	Connections int64         `json:"connections" doc:"Open connections"`
	Sessions    *KeptSessions `json:"sessions,omitempty" doc:"Sessions that go on over a change of primary; left out where none are kept"`
}

// KeptSessions is how the sessions stand of a listener that keeps them.
type KeptSessions struct {
	Open     int `json:"open" doc:"Sessions that were opened"`
	Tied     int `json:"tied" doc:"Of them, those that would end with their server, as they have something there that no other can be given"`
	Detached int `json:"detached" doc:"Of them, those that wait for their next request without a server"`
}

// ServiceStatus is one service.
type ServiceStatus struct {
	Name     string         `json:"name" doc:"Its name"`
	State    ServiceState   `json:"state" enum:"up,degraded,panic,down" doc:"What clients may expect of it"`
	Evidence string         `json:"evidence,omitempty" doc:"Why it is not up"`
	Policy   string         `json:"policy" doc:"How members are chosen"`
	InFlight int64          `json:"in_flight" doc:"Requests or sessions at work"`
	Queued   int64          `json:"queued" doc:"Waiting for a place under the limit"`
	Held     int64          `json:"held" doc:"Waiting for a member that can serve"`
	Breaker  string         `json:"breaker,omitempty" doc:"State of the service's own breaker"`
	Limit    *LimitStatus   `json:"limit,omitempty" doc:"How many requests may be at work at once"`
	Shed     *ShedStatus    `json:"shed,omitempty" doc:"Which requests are refused under overload; left out where none ever are"`
	Cache    *CacheStatus   `json:"cache,omitempty" doc:"What its cache holds; left out where it has none"`
	Members  []MemberStatus `json:"members" doc:"Who does the work"`
	Asked    string         `json:"asked,omitempty" doc:"What an operator asked for and is not done yet, such as restart par-2"`
	// Agreement is of a service with an engine.
	Agreement *AgreementStatus `json:"agreement,omitempty" doc:"What the nodes have agreed on about a service with an engine"`
	// Instances are of a service with an engine.
	Instances []InstanceStatus `json:"instances,omitempty" doc:"Where a service with an engine runs, as this node has heard"`
}

// AgreementStatus is what the nodes have agreed on about a service with an engine, as far as this node knows.
type AgreementStatus struct {
	Primary    string  `json:"primary,omitempty" doc:"Who is primary; left out while there is none"`
	Epoch      uint64  `json:"epoch" doc:"The fencing token in force"`
	Protection string  `json:"protection" doc:"What is asked for"`
	Writes     string  `json:"writes" doc:"What an acknowledged write has waited for"`
	Downgraded bool    `json:"downgraded" doc:"Whether it was agreed to go on without standbys for now"`
	Paused     bool    `json:"paused" doc:"Whether an operator took the automatic hand away"`
	PausedFor  string  `json:"paused_for,omitempty" doc:"Why, where it was not simply asked for"`
	Plan       string  `json:"plan,omitempty" doc:"What is under way"`
	LeaseLeft  float64 `json:"lease_left_seconds,omitempty" doc:"On the primary's node: for how long its authority lasts unless it is renewed"`
	HoldDown   float64 `json:"hold_down_seconds,omitempty" doc:"For how long the next failover needs better reasons"`
	Decision   string  `json:"decision" doc:"The rule that decides now"`
}

// InstanceStatus is what a node runs of a service with an engine.
type InstanceStatus struct {
	Node           string    `json:"node" doc:"Where it runs"`
	Address        string    `json:"address" doc:"Where it is reached"`
	Role           string    `json:"role" enum:"primary,standby,none,unknown" doc:"What it is: unknown where its node is not heard, none where it does not run"`
	Started        time.Time `json:"started,omitzero" doc:"When it was started, by its node's clock; left out where it does not run, or its engine cannot tell"`
	Epoch          uint64    `json:"epoch" doc:"The newest epoch that it holds"`
	InLine         bool      `json:"in_line" doc:"Whether its data is a beginning of the primary's, so that it may take over"`
	Counts         bool      `json:"counts" doc:"Whether it counts for acknowledging writes"`
	Upstream       string    `json:"upstream,omitempty" doc:"The node it follows"`
	Streaming      bool      `json:"streaming" doc:"Whether it receives from there"`
	Lag            *float64  `json:"lag_seconds,omitempty" doc:"For how long the primary may have had something that it has not applied; left out where that is not known"`
	LagBytes       uint64    `json:"lag_bytes" doc:"What it has not applied of what the primary was last seen to have"`
	PendingRestart []string  `json:"pending_restart,omitempty" doc:"Settings that hold only once it is started again"`
	Problem        string    `json:"problem,omitempty" doc:"What is wrong with it"`
}

// LimitStatus is a concurrency limit.
type LimitStatus struct {
	Concurrency int  `json:"concurrency" doc:"The limit"`
	Adaptive    bool `json:"adaptive" doc:"Whether it found that number by itself"`
	InUse       int  `json:"in_use" doc:"How many are at work"`
}

// ShedStatus says which requests are refused for mattering least.
type ShedStatus struct {
	AdmissionLevel float64 `json:"admission_level" doc:"The share of requests that is let in, by priority; 1 is all"`
	Below          string  `json:"below,omitempty" doc:"Requests below this priority are refused; empty where none are"`
	Refused        uint64  `json:"refused" doc:"Requests refused so far"`
	Delay          float64 `json:"delay_seconds" doc:"What requests wait at least for a place under the limit"`
}

// RateStatus is this node's share of a rate that all nodes have together.
type RateStatus struct {
	Rate    string  `json:"rate" doc:"What it is the rate of: service NAME, listener NAME or route LISTENER ROUTE"`
	Total   float64 `json:"total" doc:"Requests a second of all nodes together"`
	Share   float64 `json:"share" doc:"How many of them this node may let in"`
	Wanted  float64 `json:"wanted" doc:"How many it asks for"`
	Footing string  `json:"footing" doc:"What the share is founded on: leased, equal (an equal part, as none could be leased) or last (the last lease, which is over, and no more than an equal part)"`
	Error   string  `json:"error,omitempty" doc:"Why it could not be leased the last time; left out where it was"`
}

// ModeStatus is a degradation mode.
type ModeStatus struct {
	Name    string    `json:"name" doc:"Its name"`
	On      bool      `json:"on" doc:"Whether it is on"`
	ByHand  bool      `json:"by_hand" doc:"Whether somebody turned it on or off by hand; backstay degrade NAME auto ends that"`
	Since   time.Time `json:"since,omitzero" doc:"When it was turned on or off; left out where it never was"`
	Signal  float64   `json:"signal" doc:"What it goes by, 0 to 1"`
	When    string    `json:"when,omitempty" doc:"What that is; left out where it is turned by hand only"`
	Service string    `json:"service,omitempty" doc:"The service that is spared while it is on"`
}

// ServiceState says what clients may expect of a service.
type ServiceState string

// States of a service.
const (
	ServiceUp       ServiceState = "up"       // every member that is not drained serves
	ServiceDegraded ServiceState = "degraded" // some do not
	ServicePanic    ServiceState = "panic"    // so few do that checks are not believed and all are used
	ServiceDown     ServiceState = "down"     // no member can serve
)

// MemberStatus is one member.
type MemberStatus struct {
	Name     string      `json:"name" doc:"Its name"`
	Address  string      `json:"address" doc:"Where it is reached"`
	Zone     string      `json:"zone,omitempty" doc:"Where it stands"`
	State    MemberState `json:"state" enum:"up,down,starting,unknown,ejected,open,draining,drained" doc:"Whether it gets traffic"`
	Since    time.Time   `json:"since" doc:"Since when"`
	Evidence string      `json:"evidence,omitempty" doc:"What that was concluded from"`
	Check    string      `json:"check,omitempty" doc:"What its checks say: up, down, starting or unknown"`
	Breaker  string      `json:"breaker,omitempty" doc:"State of its breaker"`
	InFlight int64       `json:"in_flight" doc:"Requests or sessions at work on it"`
	Latency  float64     `json:"latency_seconds" doc:"The balancer's estimate of its latency"`
	Share    float64     `json:"share" doc:"Its share of the service's traffic, 0 to 1"`
	Weight   int         `json:"weight" doc:"Its weight against its siblings'"`
	Priority int         `json:"priority" doc:"Its tier: higher ones are spares"`
	Requests uint64      `json:"requests" doc:"Tries since it joined"`
	Failures uint64      `json:"failures" doc:"Those that failed"`
}

// MemberState says whether a member gets traffic.
type MemberState string

// States of a member.
const (
	MemberUp       MemberState = "up"
	MemberDown     MemberState = "down"     // by its checks
	MemberStarting MemberState = "starting" // new, not yet seen good
	MemberUnknown  MemberState = "unknown"  // not looked at yet; gets traffic
	MemberEjected  MemberState = "ejected"  // by what live traffic showed
	MemberOpen     MemberState = "open"     // its breaker is open
	MemberDraining MemberState = "draining" // let go, still at work
	MemberDrained  MemberState = "drained"  // let go, nothing at work
)

// ID is how the member of a service is named to Drain and Resume.
func (m MemberStatus) ID(service string) string { return service + "/" + m.Name }
