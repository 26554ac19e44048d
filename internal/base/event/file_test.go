package event

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// running opens the log's file and runs the log until the returned function is called.
func running(t *testing.T, l *Log) (stop func()) {
	t.Helper()
	if err := l.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestFileSurvivesRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "events.jsonl")
	first := NewLog(Options{Path: path, Node: "n1"})
	stop := running(t, first)
	want := first.Append(Record{Kind: MemberDown, Service: "web", Member: "a", Message: "a is down.", Evidence: "3 of 3 probes", Fields: map[string]any{"bad": "3"}})
	first.Append(Record{Kind: MemberUp})
	if err := first.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); bytes.Count(b, []byte("\n")) != 2 {
		t.Fatalf("after Sync the file has %q", b)
	}
	stop()

	second := NewLog(Options{Path: path})
	second.Append(Record{Kind: NodeStarted, Message: "too early"})
	stop = running(t, second)
	r := second.Append(Record{Kind: ConfigApplied})
	stop()
	if r.Seq != 4 {
		t.Errorf("numbering goes on with %d", r.Seq)
	}
	got := second.Since(0, 0)
	if seqs(got) != "1 2 3 4" || got[2].Message != "too early" {
		t.Fatalf("got %s", seqs(got))
	}
	if g := got[0]; !g.Time.Equal(want.Time) || g.Message != want.Message || g.Node != "n1" || g.Fields["bad"] != "3" {
		t.Errorf("got %+v, want %+v", g, want)
	}
	third := NewLog(Options{Path: path, Size: 2})
	if err := third.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { third.file.Close() })
	if got := seqs(third.Since(0, 0)); got != "3 4" {
		t.Errorf("a small log has %q", got)
	}
}

func TestFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	l := NewLog(Options{Path: path, MaxBytes: 2000})
	stop := running(t, l)
	for range 100 {
		l.Append(Record{Kind: MemberUp, Message: strings.Repeat("x", 100)})
	}
	stop()
	var numbers []uint64
	for _, p := range []string{path + ".1", path} {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 2000 || len(b) == 0 {
			t.Errorf("%s has %d bytes", p, len(b))
		}
		for line := range bytes.Lines(b) {
			var r Record
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			numbers = append(numbers, r.Seq)
		}
	}
	for i, n := range numbers {
		if want := uint64(100 - len(numbers) + 1 + i); n != want {
			t.Fatalf("files hold %v", numbers)
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 2 {
		t.Errorf("%d files", len(entries))
	}
	again := NewLog(Options{Path: path, MaxBytes: 2000})
	if err := again.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.file.Close() })
	if got := again.Since(0, 0); len(got) != len(numbers) {
		t.Errorf("read back %d of %d records of both files", len(got), len(numbers))
	}
}

func TestTornAndForeignLinesAreLeftOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	content := "{\"seq\":1,\"kind\":\"a\"}\nnot json\n{\"seq\":5,\"kind\":\"b\"}\n{\"seq\":6,\"kind\":\"c\"}\n{\"seq\":2}\n{\"seq\":7,\"ki"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	l := NewLog(Options{Path: path})
	stop := running(t, l)
	if r := l.Append(Record{Kind: "d"}); r.Seq != 7 {
		t.Errorf("numbering goes on with %d", r.Seq)
	}
	stop()
	if got := seqs(l.Since(0, 0)); got != "5 6 7" {
		t.Errorf("read back %q", got)
	}
	b, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, `{"seq":7,`) || !strings.HasSuffix(last, "}") {
		t.Errorf("last line is %q", last)
	}
}

func TestRecordsBeforeAFailureAreWrittenAfterIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	l := NewLog(Options{Path: path})
	if err := l.Open(); err != nil {
		t.Fatal(err)
	}
	l.Append(Record{})
	l.file.f.Close() // writes fail now
	if _, err := l.flush(); err == nil {
		t.Fatal("no error")
	}
	l.Append(Record{})
	if _, err := l.flush(); err != nil {
		t.Fatal(err)
	}
	l.file.Close()
	if b, _ := os.ReadFile(path); bytes.Count(b, []byte("\n")) != 2 {
		t.Errorf("the file has %q", b)
	}
}

func TestSyncEndsWithItsContext(t *testing.T) {
	l := NewLog(Options{Path: filepath.Join(t.TempDir(), "e")})
	l.Append(Record{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := l.Sync(ctx); err == nil || !strings.Contains(err.Error(), "record 1 is not written") {
		t.Errorf("got %v", err)
	}
	if err := NewLog(Options{}).Sync(t.Context()); err != nil {
		t.Errorf("without a file: %v", err)
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	l := NewLog(Options{Path: "/dev/null/events"})
	l.Append(Record{})
	for range 2 {
		if err := l.Open(); err == nil || !strings.Contains(err.Error(), "check that the folder") {
			t.Errorf("got %v", err)
		}
	}
	if got := seqs(l.Since(0, 0)); got != "1" {
		t.Errorf("after failed Opens: %q", got)
	}
}
