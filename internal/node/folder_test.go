package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOneNodeOnADataFolder(t *testing.T) {
	data := t.TempDir()
	release, err := own(data)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(data, "backstay.yaml")
	if err := os.WriteFile(config, []byte("listeners: [{listen: 'unix:"+data+"/in.sock', routes: [{respond: 200}]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = Run(t.Context(), Options{Config: config, Data: data, Name: "a"})
	if err == nil || !strings.Contains(err.Error(), "another node runs on "+data) {
		t.Errorf("a second node on the folder: %v", err)
	}
	if _, err := os.Stat(filepath.Join(data, "events.jsonl")); err == nil {
		t.Error("the second node opened the event log of the first")
	}
	release()
	release, err = own(data)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	release()
}

// TestAccessLogThatCannotBe: a node whose access log cannot be opened does not start, and says once what is wrong and what to do.
func TestAccessLogThatCannotBe(t *testing.T) {
	data := t.TempDir()
	path := filepath.Join(data, "no/such/access.log")
	config := filepath.Join(data, "backstay.yaml")
	text := "access_log: {mode: full, path: " + path + "}\nlisteners: [{listen: 'unix:" + data + "/in.sock', routes: [{respond: 200}]}]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), Options{Config: config, Data: data, Name: "a", Log: slog.New(slog.DiscardHandler)})
	if err == nil || strings.Count(err.Error(), "access_log:") != 1 || !strings.Contains(err.Error(), path) || strings.Count(err.Error(), "make the folder") != 1 {
		t.Errorf("it says: %v", err)
	}
}
