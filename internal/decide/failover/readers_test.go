package failover

import (
	"testing"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
	"github.com/backstay/backstay/internal/observe/lag"
)

func TestReaders(t *testing.T) {
	limit := ReadLimit{Lag: 4 * time.Second, Bytes: 1000}
	near := lag.Lag{Known: true, Time: 300 * time.Millisecond}
	for _, c := range []struct {
		name   string
		of     string
		view   View
		lag    lag.Lag
		was    bool
		serves bool
		rule   string
	}{
		{"a standby", "b", healthy(), near, false, true, "it streams within the limit"},
		{"the primary", "a", healthy(), near, true, false, "it is the primary"},
		{"elected while the record has no primary", "b", revoked(map[string]uint64{"b": 5000}), near, true, true, "it serves within the limit"},
		{"its node is silent", "c", healthy().gone("c"), near, true, false, "its node is not heard"},
		{"leaving", "c", healthy().on("c", func(n *Node) { n.Report.Leaving = true }), near, true, false, "its node is leaving"},
		{"ended", "c", healthy().on("c", func(n *Node) { n.Report.Observation.Running = false }), near, true, false, "its instance does not run as a standby"},
		{"promoted, not granted", "c", healthy().on("c", func(n *Node) { n.Report.Observation.Role = plan.Primary }), near, true, false, "its instance does not run as a standby"},
		{"not looked at", "c", healthy().on("c", func(n *Node) { n.Report.Observed = false }), near, true, false, "its instance does not run as a standby"},
		{"of another cluster", "c", healthy().on("c", func(n *Node) { n.Report.Observation.SystemID = "s2" }), near, true, false, "its data are of another origin"},
		{"new", "b", healthy(), lag.Lag{}, false, false, "it was not yet seen with all that the primary has"},
		{"late", "b", healthy(), lag.Lag{Known: true, Time: 5 * time.Second}, true, false, "it is too far behind"},
		{"late in bytes", "b", healthy(), lag.Lag{Known: true, Bytes: 1001}, true, false, "it is too far behind"},
		{"at the limit, serving", "b", healthy(), lag.Lag{Known: true, Time: 4 * time.Second, Bytes: 1000}, true, true, "it serves within the limit"},
		{"at the limit, not serving", "b", healthy(), lag.Lag{Known: true, Time: 3 * time.Second}, false, false, "it has to come closer than half of the limit first"},
		{"at the limit in bytes, not serving", "b", healthy(), lag.Lag{Known: true, Bytes: 501}, false, false, "it has to come closer than half of the limit first"},
		{"closer", "b", healthy(), lag.Lag{Known: true, Time: 2 * time.Second, Bytes: 500}, false, true, "it streams within the limit"},
		{"the stream broke a moment ago", "b", healthy().unseen("b", time.Second), near, true, true, "it serves within the limit"},
		{"it never streamed", "b", healthy().unseen("b", time.Second), near, false, false, "it does not stream"},
	} {
		for _, r := range Readers(c.view, limit, map[string]lag.Lag{c.of: c.lag}, map[string]bool{c.of: c.was}) {
			if r.Node == c.of && (r.Serves != c.serves || r.Rule != c.rule) {
				t.Errorf("%s: serves %v by rule %q", c.name, r.Serves, r.Rule)
			}
		}
	}
	for _, r := range Readers(healthy(), ReadLimit{}, map[string]lag.Lag{"b": {Known: true, Time: time.Hour, Bytes: 1 << 40}}, nil) {
		if r.Node == "b" && !r.Serves {
			t.Errorf("without a limit: %s", r)
		}
	}
	unknown := healthy()
	unknown.State = nil
	if all := Readers(unknown, limit, nil, nil); len(all) != 3 || all[0].Serves || all[1].Serves {
		t.Errorf("where nothing is agreed: %v", all)
	}
}
