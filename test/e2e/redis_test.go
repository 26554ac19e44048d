package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestRedisStandbysListener: a listener of standbys knows nothing of PostgreSQL.
func TestRedisStandbysListener(t *testing.T) {
	if _, err := exec.LookPath("redis-cli"); err != nil {
		t.Skip("Redis is not installed")
	}
	x := startTrio(t, "      redis: {nodes: [a, b, c], port: "+instancePort+"}\n",
		`  - {name: reads, listen: "ADDRESS:`+readsPort+`", service: db, standbys: 5s}
`)
	password, err := os.ReadFile(x.file("a", "secrets", "db", "password"))
	if err != nil {
		t.Fatal(err)
	}
	cli := func(port string, words ...string) string {
		cmd := exec.Command("redis-cli", append([]string{"-h", x.address["a"], "-p", port}, words...)...)
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+strings.TrimSpace(string(password)))
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if out := cli(clientsPort, "SET", "k", "v"); !strings.Contains(out, "OK") {
		t.Fatalf("SET at the primary: %s", out)
	}
	await(t, time.Minute, "a standby answers with what was written", func() bool {
		return strings.HasPrefix(cli(readsPort, "ROLE"), "slave") && strings.TrimSpace(cli(readsPort, "GET", "k")) == "v"
	})
	if out := cli(readsPort, "SET", "k", "w"); !strings.Contains(out, "READONLY") {
		t.Errorf("SET at a standby: %s", out)
	}
}
