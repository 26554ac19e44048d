package failover

import (
	"fmt"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
	"github.com/backstay/backstay/internal/observe/lag"
)

// A ReadLimit says how far a standby may be behind to serve reads; zero is no limit.
type ReadLimit struct {
	Lag   time.Duration
	Bytes uint64
}

// A Reader is a member as those see it who only read.
type Reader struct {
	Member
	Serves bool
	Lag    lag.Lag
	Rule   string // why it serves, or not
}

// reading is what the rules of readers look at.
type reading struct {
	f      *facts
	report Report
	heard  bool
	Reader
	limit ReadLimit
	was   bool // it serves already
}

// readerRules are asked in order; the first that applies decides. Who serves goes on within the limit; who does not has to
// be well within it, so that one at the limit does not come and go.
var readerRules = []struct {
	name    string
	applies func(r *reading) bool
	serves  bool
}{
	{"it is the primary", func(r *reading) bool { return r.f.s.Primary == r.Node }, false},
	{"its node is not heard", func(r *reading) bool { return !r.heard || r.f.v.suspected(r.Node) }, false},
	{"its node is leaving", func(r *reading) bool { return r.report.Leaving }, false},
	{"its instance does not run as a standby", (*reading).down, false},
	{"its data are of another origin", (*reading).foreign, false},
	{"it was not yet seen with all that the primary has", func(r *reading) bool { return !r.Lag.Known }, false},
	{"it is too far behind", func(r *reading) bool { return r.beyond(1) }, false},
	{"it serves within the limit", func(r *reading) bool { return r.was }, true},
	{"it does not stream", func(r *reading) bool { return !r.report.Observation.Streaming }, false},
	{"it has to come closer than half of the limit first", func(r *reading) bool { return r.beyond(2) }, false},
	{"it streams within the limit", func(*reading) bool { return true }, true},
}

func (r *reading) down() bool {
	o := r.report.Observation
	return !r.report.Observed || !o.Running || o.Role != plan.Standby
}

func (r *reading) foreign() bool {
	o := r.report.Observation
	return r.f.s.SystemID != "" && o.SystemID != "" && o.SystemID != r.f.s.SystemID
}

// beyond says whether the lag is more than a part of the limit.
func (r *reading) beyond(part int) bool {
	return r.limit.Lag > 0 && r.Lag.Time > r.limit.Lag/time.Duration(part) ||
		r.limit.Bytes > 0 && r.Lag.Bytes > r.limit.Bytes/uint64(part)
}

// Readers says of each member whether it may serve reads, given how far each is behind and who serves already.
func Readers(v View, limit ReadLimit, behind map[string]lag.Lag, serving map[string]bool) []Reader {
	f := &facts{v: v}
	if v.State != nil {
		f.s = *v.State
	}
	var all []Reader
	for _, m := range v.Service.Members {
		r := reading{f: f, Reader: Reader{Member: m, Lag: behind[m.Node]}, limit: limit, was: serving[m.Node]}
		r.report, r.heard = v.heard(m.Node)
		for _, rule := range readerRules {
			if rule.applies(&r) {
				r.Serves, r.Rule = rule.serves, rule.name
				break
			}
		}
		all = append(all, r.Reader)
	}
	return all
}

// Applied is how much of the primary's history whoever reads from the member sees.
func (r Report) Applied() uint64 {
	if o := r.Observation; o.Role == plan.Standby && o.Applied > 0 {
		return o.Applied
	}
	return r.Observation.Position
}

// String is the reader for people.
func (r Reader) String() string {
	if !r.Lag.Known {
		return r.Rule
	}
	return fmt.Sprintf("%s: %v and %d bytes behind", r.Rule, r.Lag.Time.Round(time.Millisecond), r.Lag.Bytes)
}
