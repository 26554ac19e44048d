package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
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
	bench, results := filepath.Join(dir, "bench"), filepath.Join(dir, "results.jsonl")
	if out, err := exec.Command("go", "build", "-o", bench, "../../bench/failover").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := exec.Command(bench, "-systems", "backstay", "-backstay", binary, "-dir", dir, "-rounds", "1", "-settle", "2s", "-register", "-v",
		"-profile", "lan", "-faults", "switchover,postmaster,node,agent", "-out", results).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	faults, register := 0, ""
	for line := range bytes.Lines(text) {
		var r struct {
			Fault        string
			Lost         int
			TwoPrimaries float64 `json:"two_primaries"`
			Acknowledged int
			Moved        bool
			Difficulty   string
			Register     string
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if r.Register != "" {
			register = r.Register
			continue
		}
		faults++
		if r.Lost > 0 || r.TwoPrimaries > 0 {
			t.Errorf("%s: %d acknowledged rows lost, two primaries for %.3f s", r.Fault, r.Lost, r.TwoPrimaries)
		}
		if r.Acknowledged == 0 || r.Difficulty != "" {
			t.Errorf("%s: %d rows acknowledged, %s", r.Fault, r.Acknowledged, r.Difficulty)
		}
		if !r.Moved && (r.Fault == "switchover" || r.Fault == "node") {
			t.Errorf("%s: the primary is where it was", r.Fault)
		}
	}
	if faults != 4 {
		t.Errorf("%d faults of 4", faults)
	}
	if register != "linearizable" {
		t.Errorf("the register is %s", register)
	}
}
