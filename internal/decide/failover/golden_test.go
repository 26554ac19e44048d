package failover

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

var update = flag.Bool("update", false, "rewrite testdata")

// scenes are the views of the transcripts.
var scenes = []struct {
	name string
	view func() View
}{
	{"serving", healthy},
	{"store-unread", func() View { v := healthy(); v.StateKnown = false; return v }},
	{"paused", func() View { v := healthy().gone("a"); v.State.Paused = true; return v }},
	{"new", fresh},
	{"new-unheard", func() View { return fresh().gone("c") }},
	{"new-adopts", func() View {
		return fresh().on("b", func(n *Node) { n.Report.Observation.Empty, n.Report.Observation.SystemID = false, "old" })
	}},
	{"new-mixed", func() View {
		v := fresh().on("b", func(n *Node) { n.Report.Observation.Empty, n.Report.Observation.SystemID = false, "old" })
		return v.on("c", func(n *Node) { n.Report.Observation.Empty, n.Report.Observation.SystemID = false, "other" })
	}},
	{"primary-silent", func() View { return healthy().gone("a") }},
	{"primary-silent-for-one", func() View { return healthy().suspects("a", "silent for 1.3s", "b") }},
	{"primary-process-ended", func() View {
		return healthy().on("a", func(n *Node) {
			n.Report.Observation.Running, n.Report.Observation.Writable, n.Report.Observation.Role = false, false, plan.None
		})
	}},
	{"primary-process-ended-alone", func() View {
		v := healthy().gone("b").gone("c")
		v.Self = "a"
		v.Lease.Mine = true
		v.on("b", func(n *Node) { n.Heard = false }).on("c", func(n *Node) { n.Heard = false })
		return v.on("a", func(n *Node) {
			n.Heard, n.Report.Lease, n.Report.Observation.Running, n.Report.Suspects = true, true, false, nil
		})
	}},
	{"primary-cannot-write", func() View {
		return healthy().on("a", func(n *Node) {
			n.Report.Idle, n.Report.Observation.Writable, n.Report.Observation.Problem = 3*time.Second, false, "no space left on device"
		})
	}},
	{"primary-lost-the-store", func() View {
		return healthy().on("a", func(n *Node) { n.Report.Store, n.Report.StoreAway = false, 2*time.Second })
	}},
	{"would-lose", func() View { return healthy().gone("a").on("c", func(n *Node) { n.Report.Observation.Empty = true }) }},
	{"record-outdated", func() View { // the store was recovered from before c became the primary
		return healthy().gone("c").on("a", func(n *Node) {
			n.Report.Serving, n.Report.Observation.Epoch = false, 5
			n.Report.Observation.Role, n.Report.Observation.Upstream = "standby", "c"
		})
	}},
	{"loss-accepted", func() View {
		v := healthy().gone("a").on("c", func(n *Node) { n.Report.Observation.Empty = true })
		v.State.Wish = &Wish{ID: "w", Kind: WishFailover, To: "b", By: "ann"}
		return v
	}},
	{"asynchronous-lease-held", func() View {
		v := healthy().gone("a")
		v.Service.Protection, v.State.Sync = MaxPerformance, Guarantee{}
		return v
	}},
	{"asynchronous-lease-lapsed", func() View {
		v := healthy().gone("a")
		v.Service.Protection, v.State.Sync, v.Lease.Free = MaxPerformance, Guarantee{}, true
		return v
	}},
	{"asynchronous-not-recorded", func() View { // a new service whose standbys stream, and nobody has written that down
		v := healthy().gone("a")
		v.Service.Protection, v.State.Sync, v.State.InLine, v.Lease.Free = MaxPerformance, Guarantee{}, nil, true
		for _, n := range []string{"b", "c"} {
			v.on(n, func(n *Node) { n.Report.Observation.Applied = 5000 })
		}
		return v
	}},
	{"held-down", func() View { v := healthy().gone("a"); v.State.Failovers, v.EpochAge = 1, 4*time.Second; return v }},
	{"all-nofailover", func() View {
		v := healthy().gone("a")
		v.Service.Members[1].NoFailover, v.Service.Members[2].NoFailover = true, true
		return v
	}},
	{"switchover", func() View { v := healthy(); v.State.Wish = &Wish{Kind: WishSwitchover, To: "c", By: "ann"}; return v }},
	{"switchover-refused", func() View {
		v := healthy().unseen("c", time.Second)
		v.State.Wish = &Wish{Kind: WishSwitchover, To: "c", By: "ann"}
		return v
	}},
	{"restart-standby", func() View { return healthy().wishing(WishRestart, "c") }},
	{"restart-primary", func() View { return healthy().wishing(WishRestart, "a") }},
	{"restart-primary-alone", func() View {
		v := healthy().wishing(WishRestart, "a").unseen("b", time.Second).unseen("c", time.Second)
		v.Self, v.Lease.Mine = "a", true
		return v
	}},
	{"restart-refused", func() View { return healthy().gone("c").wishing(WishRestart, "c") }},
	{"reinit-refused", func() View { return healthy().wishing(WishReinit, "d") }},
	{"cascade", func() View { return healthy().cascading("b") }},
	{"cascade-has-a-standby-again", func() View { return healthy().cascading("a") }},
	{"cascade-lost-its-standby", func() View { return healthy().cascading("b").gone("b") }},
	{"cascade-elsewhere", func() View { // its standby is in another region
		v := healthy().cascading("a")
		v.Service.Members[2].Region = "far"
		return v
	}},
	{"cascade-of-an-older-epoch", func() View {
		return healthy().cascading("b").on("c", func(n *Node) { n.Report.Observation.Epoch = 3 })
	}},
	{"cascade-without-data", func() View {
		return healthy().cascading("").on("c", func(n *Node) { n.Report.Observation = plan.Observation{Node: "c", Empty: true} })
	}},
	{"async-back", func() View {
		v := healthy()
		v.Service.Members[2].Async = true
		v.State.Sync.Names, v.State.InLine = []string{"b"}, []string{"b"}
		return v.on("a", func(n *Node) { n.Report.Observation.SyncNames = []string{"b"} })
	}},
	{"async-not-elected", func() View {
		v := revoked(map[string]uint64{"b": 5000, "c": 5000})
		v.Service.Members[1].Async = true
		v.State.Sync.Names = []string{"c"}
		return v
	}},
	{"elected-in-the-same-region", func() View {
		v := revoked(map[string]uint64{"b": 5000, "c": 5000})
		v.Service.Members[0].Region, v.Service.Members[1].Region, v.Service.Members[2].Region = "par", "lon", "par"
		return v
	}},
	{"leaving", func() View { return healthy().on("a", func(n *Node) { n.Report.Leaving = true }) }},
	{"standby-away-a-moment", func() View { return healthy().unseen("c", time.Second) }},
	{"standby-away", func() View { return healthy().unseen("c", 10*time.Second) }},
	{"standbys-away", func() View { return healthy().unseen("c", 10*time.Second).unseen("b", 10*time.Second) }},
	{"standbys-away-protected", func() View {
		v := healthy().unseen("c", 10*time.Second).unseen("b", 10*time.Second)
		v.Service.Protection = MaxProtection
		return v
	}},
	{"standby-back", func() View {
		v := healthy()
		v.State.Sync, v.State.InLine = Guarantee{Names: []string{"b"}, Quorum: 1}, []string{"b"}
		return v
	}},
	{"elected", func() View { return revoked(map[string]uint64{"b": 4900, "c": 5000}) }},
	{"elected-by-priority", func() View { return revoked(map[string]uint64{"b": 5000, "c": 5000}) }},
	{"election-waits", func() View { return revoked(map[string]uint64{"c": 5000}) }},
	{"election-with-the-old-primary", func() View {
		return revoked(map[string]uint64{"a": 5100, "b": 5000}).on("a", func(n *Node) { n.Heard = true })
	}},
	{"failback", func() View { // a has come back and is preferred: nothing is done about it
		v := healthy()
		v.State.Primary, v.State.Last, v.State.Failovers, v.Lease.Holder = "b", "b", 1, "b"
		v.State.Sync.Names, v.State.InLine = []string{"a", "c"}, []string{"a", "c"}
		a, b := v.Nodes["a"].Report, v.Nodes["b"].Report
		a.Observation, b.Observation, a.Serving, b.Serving = b.Observation, a.Observation, false, true
		a.Observation.Upstream, b.Observation.SyncNames, b.Observation.Standbys[0].Node = "b", []string{"a", "c"}, "a"
		v.on("a", func(n *Node) { n.Report = a }).on("b", func(n *Node) { n.Report = b })
		return v
	}},
}

// TestTranscripts compares what is decided about each scene with what was: `go test -run Transcripts -update` rewrites it.
func TestTranscripts(t *testing.T) {
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			v := scene.view()
			var b strings.Builder
			b.WriteString(Explain(v))
			if v.State != nil && v.State.Plan != nil {
				next, notes, _ := Advance(v)
				b.WriteString("\nthe plan is carried on:\n")
				for _, n := range notes {
					b.WriteString("  " + n.Kind + ": " + n.Text + " (" + n.Evidence + ")\n")
				}
				b.WriteString(next.Plan.String() + "\n")
			}
			for _, n := range sortedNodes(v) {
				own := v
				own.Self = n
				b.WriteString("\ncare on " + n + ": " + Care(own).String())
			}
			body, err := json.MarshalIndent(v, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			compare(t, scene.name+".txt", b.String()+"\n")
			compare(t, scene.name+".json", string(body)+"\n")
			var again View
			if err := json.Unmarshal(body, &again); err != nil {
				t.Fatal(err)
			}
			if Explain(again) != Explain(v) {
				t.Errorf("a view that was written and read again is judged differently:\n%s", Explain(again))
			}
		})
	}
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
	}
}
