package failover

import (
	"slices"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// Levels of protection.
const (
	MaxProtection   = "max-protection"   // no write is acknowledged that only one member has, even if nothing can be written then
	MaxAvailability = "max-availability" // the same while a standby can be had; without, it is agreed in the store to go on alone
	MaxPerformance  = "max-performance"  // writes are not waited for: a failover may lose the last ones
)

// A Member is a node that runs an instance of the service.
type Member struct {
	Node       string `json:"node"`
	Address    string `json:"address,omitempty"`  // where clients reach the instance
	Priority   int    `json:"priority,omitempty"` // lower is preferred
	NoFailover bool   `json:"nofailover,omitempty"`
	Async      bool   `json:"async,omitempty"`   // writes never wait for it, and it is elected only where the others do not cover
	Cascade    bool   `json:"cascade,omitempty"` // it follows a standby of its region where there is one, and is never in line
	Zone       string `json:"zone,omitempty"`
	Region     string `json:"region,omitempty"`
}

// A Service is the declaration: what people asked for. Zero durations mean the defaults of WithDefaults.
type Service struct {
	Name       string   `json:"name"`
	Members    []Member `json:"members"`
	Voters     []string `json:"voters"` // all nodes of the cluster, members or not
	Protection string   `json:"protection"`
	Quorum     int      `json:"quorum,omitempty"` // standbys that confirm each write; half of the members (rounded down) by default

	Heartbeat time.Duration `json:"heartbeat"` // between reports
	Suspicion time.Duration `json:"suspicion"` // silence after which a node is suspected
	TTL       time.Duration `json:"ttl"`       // of the lease
	Patience  time.Duration `json:"patience"`  // with a primary that runs and does not work, and with a standby that is away
	HoldDown  time.Duration `json:"hold_down"` // after a failover, within which the next needs better reasons
	CatchUp   time.Duration `json:"catch_up"`  // that a switchover waits for its target
	Settle    time.Duration `json:"settle"`    // that a switchover waits for what clients have begun
	MaxLag    uint64        `json:"max_lag"`   // bytes that a standby may be behind to join the synchronous set, or to be elected asynchronously
}

// WithDefaults fills in what is not declared.
func (s Service) WithDefaults() Service {
	if s.Protection == "" {
		s.Protection = MaxAvailability
	}
	if s.Quorum == 0 {
		n := 0
		for _, m := range s.Members {
			if !m.Async && !m.Cascade {
				n++
			}
		}
		s.Quorum = max(1, n/2)
	}
	for p, d := range map[*time.Duration]time.Duration{
		&s.Heartbeat: 200 * time.Millisecond, &s.Suspicion: 1200 * time.Millisecond, &s.TTL: 4 * time.Second,
		&s.HoldDown: 30 * time.Second, &s.CatchUp: 5 * time.Second, &s.Settle: 2 * time.Second,
	} {
		if *p == 0 {
			*p = d
		}
	}
	if s.Patience == 0 {
		s.Patience = 2 * s.Suspicion
	}
	if s.MaxLag == 0 {
		s.MaxLag = 16 << 20
	}
	return s
}

// Member returns the declaration of a node's member.
func (s Service) Member(node string) (Member, bool) {
	i := slices.IndexFunc(s.Members, func(m Member) bool { return m.Node == node })
	if i < 0 {
		return Member{}, false
	}
	return s.Members[i], true
}

// A Lease is what this node knows of the service's lease.
type Lease struct {
	Known  bool   `json:"known,omitempty"`
	Holder string `json:"holder,omitempty"`
	Epoch  uint64 `json:"epoch,omitempty"`
	Mine   bool   `json:"mine,omitempty"` // held by this process, now
	// Free says that it could be taken now: vacant, or unchanged for a full ttl by this node's own monotonic clock.
	Free bool `json:"free,omitempty"`
	// Open says that its epoch was begun by a revocation and not yet taken.
	Open bool `json:"open,omitempty"`
}

// A Report is what one node tells of a service.
type Report struct {
	Node  string `json:"node"`
	Epoch uint64 `json:"epoch"` // the newest it knows of the record
	// Observed says that Observation is fresh; a node without an instance never has one.
	Observed    bool             `json:"observed,omitempty"`
	Observation plan.Observation `json:"observation"`
	// Idle is for how long a primary that runs has not been able to take a write.
	Idle time.Duration `json:"idle,omitempty"`
	// Serving says that the node has authority as primary at Epoch and uses it.
	Serving bool `json:"serving,omitempty"`
	// Lease says that this life of the node's process holds the lease.
	Lease bool `json:"lease,omitempty"`
	// Store says that the store answers; StoreAway for how long it has not.
	Store     bool              `json:"store"`
	StoreAway time.Duration     `json:"store_away,omitempty"`
	Leaving   bool              `json:"leaving,omitempty"`  // the node is shutting down in good order
	Quiet     string            `json:"quiet,omitempty"`    // the plan for which clients wait on this node, with nothing of theirs at work
	Suspects  map[string]string `json:"suspects,omitempty"` // nodes, and why
	Marks     []Mark            `json:"marks,omitempty"`
	// Revision is that of the newest record it knows, as the store counts.
	Revision int64 `json:"revision,omitempty"`
	// Opened is when the instance was first seen to take writes as the primary of Epoch, by its node's clock.
	Opened time.Time `json:"opened,omitzero"`
	// Trouble is why the node's last step on its own instance failed; empty once one has not.
	Trouble string `json:"trouble,omitempty"`
}

// A Node is what this node knows of another, or of itself.
type Node struct {
	Heard  bool          `json:"heard"` // a report, within the time of suspicion
	Ago    time.Duration `json:"ago,omitempty"`
	Report Report        `json:"report"`
	// Away is for how long the primary has not seen it streaming; 0 while it does.
	Away time.Duration `json:"away,omitempty"`
}

// A View is everything that a rule may look at.
type View struct {
	Now        time.Time       `json:"now"`
	Self       string          `json:"self"`
	Service    Service         `json:"service"`
	StateKnown bool            `json:"state_known"`      // the store was read, whether or not there is a record
	State      *State          `json:"state,omitempty"`  // nil: there is no record
	Store      bool            `json:"store"`            // the store answers this node
	Lease      Lease           `json:"lease"`            //
	Nodes      map[string]Node `json:"nodes"`            // with Self
	Serving    bool            `json:"serving"`          // this node has authority as primary, now
	EpochAge   time.Duration   `json:"epoch_age"`        // since this node first saw the epoch
	GroupAge   time.Duration   `json:"group_age"`        // since this node first saw the turn of the plan's group
	Recent     int             `json:"recent,omitempty"` // failovers that this node saw within ten hold-downs
	ID         string          `json:"id,omitempty"`     // for a plan that begins now
	// Tries is how often this node has done something about its own instance since that was last well.
	Tries int `json:"tries,omitempty"`
	// Deposed is the plan for which this process has ended the old holder's right to the lease.
	Deposed string `json:"deposed,omitempty"`
	// Left is for how long this node's authority as primary still lasts unless it is renewed; for people, as Serving is for rules.
	Left time.Duration `json:"left,omitempty"`
}

// node returns what is known of a node; nothing where it is not fresh.
func (v View) heard(name string) (Report, bool) {
	n, ok := v.Nodes[name]
	return n.Report, ok && n.Heard
}

// suspicions lists the nodes that suspect a node, sorted; a node has no say about itself.
func (v View) suspicions(name string) (voters []string, why string) {
	for _, voter := range v.Service.Voters {
		r, ok := v.heard(voter)
		if !ok || voter == name {
			continue
		}
		if reason, suspects := r.Suspects[name]; suspects {
			voters = append(voters, voter)
			if why == "" || voter == v.Self {
				why = reason
			}
		}
	}
	slices.Sort(voters)
	return voters, why
}

// suspected says whether this node has no contact with another.
func (v View) suspected(name string) bool {
	_, ok := v.heard(name)
	if !ok {
		return true
	}
	_, bad := v.Nodes[v.Self].Report.Suspects[name]
	return bad
}

// majority is how many voters are more than half.
func (v View) majority() int { return len(v.Service.Voters)/2 + 1 }

// able says whether a member's node is heard and has data of the service.
func (v View) able(name string) bool {
	r, ok := v.heard(name)
	if !ok || v.suspected(name) || !r.Observed || r.Observation.Empty {
		return false
	}
	return v.State == nil || v.State.SystemID == "" || r.Observation.SystemID == "" || r.Observation.SystemID == v.State.SystemID
}

// aligned says whether a member's data is a beginning of the last primary's although that was not recorded yet, by its own
// word: it follows that primary at its epoch, and has replayed some of it. Where replication is asynchronous that is as
// good as being in line: no guarantee counts on who else is.
func (v View) aligned(name string) bool {
	r, s := v.Nodes[name].Report, v.State
	o := r.Observation
	if m, _ := v.Service.Member(name); m.Cascade {
		return false
	}
	return v.Service.Protection == MaxPerformance && s.Last != "" && name != s.Last && r.Observed && !o.Empty &&
		o.Upstream == s.Last && o.Epoch == s.Epoch && o.Applied > 0 && s.SystemID != "" && o.SystemID == s.SystemID
}

// reachable lists the members that could be fenced now: in line, or the last primary itself.
func (v View) reachable() []string {
	var names []string
	for _, m := range v.Service.Members {
		if (m.Node == v.State.Last || slices.Contains(v.State.InLine, m.Node) || v.aligned(m.Node)) && v.able(m.Node) {
			names = append(names, m.Node)
		}
	}
	slices.Sort(names)
	return names
}
