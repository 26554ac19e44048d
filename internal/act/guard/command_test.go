package guard

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestACommandIsRunInsteadAndAgainWhereItFails(t *testing.T) {
	dir := t.TempDir()
	orders, node := io.Pipe()
	var said strings.Builder
	done := make(chan error, 1)
	script := "cd " + dir + "; echo x >> tries; [ $(wc -l < tries) -gt 1 ] || { echo not yet; exit 1; }"
	go func() {
		done <- Run(context.Background(), Options{Command: []string{"/bin/sh", "-c", script}, Orders: orders, Answers: &said})
	}()
	now, err := sinceBoot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(node, "keep "+itoa(now+time.Hour)+"\n"); err != nil {
		t.Fatal(err)
	}
	node.Close() // as the node's death does
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	tries, err := os.ReadFile(filepath.Join(dir, "tries"))
	if err != nil || string(tries) != "x\nx\n" {
		t.Errorf("it was tried %q %v", tries, err)
	}
	if want := "stopped by command: the node process is gone"; !strings.Contains(said.String(), want) || !strings.Contains(said.String(), "could not stop it: exit status 1") {
		t.Errorf("it said %q", said.String())
	}
}

func TestARedisIsFoundByItsOwnFile(t *testing.T) {
	db, dir := database(t)
	if err := os.Rename(filepath.Join(dir, "postmaster.pid"), filepath.Join(dir, "redis.pid")); err != nil {
		t.Fatal(err)
	}
	orders, node := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- Run(context.Background(), Options{DataDir: dir, Orders: orders}) }()
	now, err := sinceBoot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(node, "keep "+itoa(now+time.Hour)+"\n"); err != nil {
		t.Fatal(err)
	}
	node.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	<-db.done
}

func itoa(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
