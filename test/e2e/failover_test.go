package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestFailover is a short form of bench/failover: three nodes with real PostgreSQL, in network namespaces where they are
// permitted and on loopback addresses elsewhere; clients that remember what was acknowledged; one fault after the other.
func TestFailover(t *testing.T) {
	dir, err := os.MkdirTemp("", "backstay-e2e-pg-") // PostgreSQL's user passes through
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	bench, results := filepath.Join(dir, "bench"), filepath.Join(dir, "results.json")
	if out, err := exec.Command("go", "build", "-o", bench, "../../bench/failover").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := exec.Command(bench, "-backstay", binary, "-dir", dir, "-rounds", "1", "-settle", "2s", "-register", "-v",
		"-profile", "lan", "-faults", "switchover,postmaster,node", "-json", results).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Results []struct {
			Fault        string
			Gap          float64
			Lost         int
			TwoPrimaries float64 `json:"two_primaries"`
			Acknowledged int
			Moved        bool
			Difficulty   string
		}
		Register string
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Results) != 3 {
		t.Errorf("%d faults of 3", len(got.Results))
	}
	for _, r := range got.Results {
		if r.Lost > 0 || r.TwoPrimaries > 0 {
			t.Errorf("%s: %d acknowledged rows lost, two primaries for %.3f s", r.Fault, r.Lost, r.TwoPrimaries)
		}
		if !r.Moved || r.Acknowledged == 0 || r.Difficulty != "" {
			t.Errorf("%s: moved %v, %d rows acknowledged, %s", r.Fault, r.Moved, r.Acknowledged, r.Difficulty)
		}
		if limit := time.Minute; r.Gap > limit.Seconds() { // bench/failover measures; whatever the machine does, it must come to an end
			t.Errorf("%s: no write for %.1f s", r.Fault, r.Gap)
		}
	}
	if got.Register != "linearizable" {
		t.Errorf("the register is %s", got.Register)
	}
}
