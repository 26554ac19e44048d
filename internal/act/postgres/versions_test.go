package postgres

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckVersion(t *testing.T) {
	for _, c := range []struct {
		major     int
		parameter string
		hba       string
		want      string
	}{
		{12, "work_mem", "", "too old"}, {13, "work_mem", "", ""}, {18, "work_mem", "", ""}, {0, "io_method", "", ""}, {19, "work_mem", "", ""},
		{13, "wal_keep_segments", "", "any more"}, {15, "promote_trigger_file", "", ""}, {16, "promote_trigger_file", "", "any more"},
		{13, "compute_query_id", "", "from 14 on"}, {14, "Compute_Query_ID", "", ""}, {16, "summarize_wal", "", "from 17 on"}, {17, "summarize_wal", "", ""},
		{17, "io_method", "", "from 18 on"}, {18, "io_method", "", ""}, {17, "old_snapshot_threshold", "", "any more"},
		{15, "work_mem", "include_if_exists /etc/more", "from 16 on"}, {16, "work_mem", "include_if_exists /etc/more", ""},
	} {
		var hba []string
		if c.hba != "" {
			hba = []string{c.hba}
		}
		err := checkVersion(c.major, map[string]string{c.parameter: "1"}, hba)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d with %s %s: %v, want %q", c.major, c.parameter, c.hba, err, c.want)
		}
	}
}

// The table agrees with each version that is installed, and what the engine sets itself is known to it.
func TestSpansOfInstalledVersions(t *testing.T) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	for _, dir := range dirs {
		out, err := exec.Command(filepath.Join(dir, "postgres"), "--describe-config").Output()
		if err != nil {
			t.Fatal(err)
		}
		known := map[string]bool{}
		for l := range strings.Lines(string(out)) {
			name, _, _ := strings.Cut(l, "\t")
			known[name] = true
		}
		major := majorOf(dir)
		for name, s := range spans {
			hidden := name == "trace_recovery_messages" || name == "force_parallel_mode" // for developers: not described
			if known[name] != s.has(major) && !hidden {
				t.Errorf("PostgreSQL %d knows %s: %t, by the table %t", major, name, known[name], s.has(major))
			}
		}
		for name := range defaults {
			if !known[name] {
				t.Errorf("PostgreSQL %d does not know %s", major, name)
			}
		}
	}
	t.Logf("compared with %v", dirs)
}
