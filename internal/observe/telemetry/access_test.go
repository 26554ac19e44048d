package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

func line() *Access {
	return &Access{
		Time: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC), Listener: "web", Route: "0", Service: "shop", Member: "a",
		Client: netip.MustParseAddrPort("192.0.2.7:4711"), Method: []byte("GET"), Host: []byte("shop.example"),
		Path: []byte("/a?b=c"), Proto: "HTTP/1.1", RequestID: []byte("0123"), Status: 200, Took: 1234567 * time.Nanosecond,
		Out: 1024, Tries: 1, UserAgent: []byte("curl/8"),
	}
}

func TestAccessLine(t *testing.T) {
	l := line()
	l.Trace, _ = ParseTraceparent([]byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	want := `{"time":"2026-03-01T12:00:00.123456Z","listener":"web","route":"0","service":"shop","member":"a",` +
		`"client":"192.0.2.7:4711","method":"GET","host":"shop.example","path":"/a?b=c","proto":"HTTP/1.1","status":200,` +
		`"duration_seconds":0.001234,"bytes_in":0,"bytes_out":1024,"tries":1,"request_id":"0123",` +
		`"trace_id":"0af7651916cd43dd8448eb211c80319c","user_agent":"curl/8"}` + "\n"
	if got := string(l.appendJSON(nil)); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func FuzzAccessLineIsJSON(f *testing.F) {
	f.Add([]byte("/\"\\\n\r\t\x00\x7f\xff\xed\xa0\x80 ü 😀 \u2028"), []byte("\xe2\x82"))
	f.Fuzz(func(t *testing.T, path, agent []byte) {
		l := line()
		l.Path, l.UserAgent = path, agent
		out := l.appendJSON(nil)
		if bytes.IndexByte(out, '\n') != len(out)-1 {
			t.Fatalf("more than one line: %q", out)
		}
		var got struct {
			Path  string `json:"path"`
			Agent string `json:"user_agent"`
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if want := strings.ToValidUTF8(string(path), "\ufffd"); strings.ReplaceAll(got.Path, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") {
			t.Fatalf("path %q became %q", path, got.Path)
		}
	})
}

func TestWants(t *testing.T) {
	count := func(cfg config.AccessLog, status int) (n int) {
		a := NewAccessLog(AccessOptions{Config: cfg})
		for range 10_000 {
			if a.Wants(status) {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		cfg      config.AccessLog
		status   int
		min, max int
	}{
		{config.AccessLog{}, 503, 0, 0},
		{config.AccessLog{Mode: "off"}, 200, 0, 0},
		{config.AccessLog{Mode: "full"}, 200, 10_000, 10_000},
		{config.AccessLog{Mode: "sampled", Sample: 10}, 503, 10_000, 10_000},
		{config.AccessLog{Mode: "sampled", Sample: 10}, 200, 700, 1300},
		{config.AccessLog{Mode: "sampled", Sample: 0}, 200, 0, 0},
		{config.AccessLog{Mode: "sampled", Sample: 0}, 500, 10_000, 10_000},
		{config.AccessLog{Mode: "sampled", Sample: 100}, 200, 10_000, 10_000},
	} {
		if n := count(c.cfg, c.status); n < c.min || n > c.max {
			t.Errorf("%+v with %d: %d of 10000, want %d to %d", c.cfg, c.status, n, c.min, c.max)
		}
	}
	var none *AccessLog
	if none.Wants(500) {
		t.Error("a nil log wants a line")
	}
	none.Write(line())
	none.Reopen()
	none.Set(config.AccessLog{})
}

func TestWriteCopiesDropsAndFlushesAtTheEnd(t *testing.T) {
	var out bytes.Buffer
	m := NewMetrics(nil)
	a := NewAccessLog(AccessOptions{Config: config.AccessLog{Mode: "full"}, Out: &out, Queue: 3, Metrics: m})
	path := []byte("/first")
	for range 5 {
		l := line()
		l.Path = path
		a.Write(l)
	}
	copy(path, "/XXXXX") // the caller's buffer is used again
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), `"path":"/first"`); n != 3 {
		t.Errorf("%d lines of 3:\n%s", n, &out)
	}
	if w, d := m.node.accessWritten.Load(), m.node.accessDropped.Load(); w != 3 || d != 2 {
		t.Errorf("written %d, dropped %d; want 3 and 2", w, d)
	}
	a.Write(line()) // entries are used again
	if len(a.full) != 1 || a.made.Load() != 3 {
		t.Errorf("queued %d, entries %d", len(a.full), a.made.Load())
	}
}

func TestLongFieldsAreCutAndBuffersDoNotGrow(t *testing.T) {
	var out bytes.Buffer
	a := NewAccessLog(AccessOptions{Config: config.AccessLog{Mode: "full"}, Out: &out, Queue: 1})
	l := line()
	l.Path, l.UserAgent = bytes.Repeat([]byte("p"), 1<<20), bytes.Repeat([]byte("u"), 1<<20)
	a.Write(l)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = a.Run(ctx)
	if out.Len() > 2*(maxPath+maxOther) {
		t.Errorf("a line of %d bytes", out.Len())
	}
	if e := <-a.free; cap(e.buf) > keepBuf {
		t.Errorf("a buffer of %d bytes is kept", cap(e.buf))
	}
}

func TestReopenAfterRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	cfg := config.AccessLog{Mode: "full", Path: path}
	if err := CheckAccessLog(cfg); err != nil {
		t.Fatal(err)
	}
	m := NewMetrics(nil)
	a := NewAccessLog(AccessOptions{Config: cfg, Metrics: m})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = a.Run(ctx) })
	written := func(n uint64) {
		t.Helper()
		for start := time.Now(); m.node.accessWritten.Load() < n; time.Sleep(time.Millisecond) {
			if time.Since(start) > time.Minute {
				t.Fatalf("%d lines written, waited for %d", m.node.accessWritten.Load(), n)
			}
		}
	}
	a.Write(line())
	written(1)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	a.Reopen()
	a.Write(line())
	written(2)
	cancel()
	wg.Wait()
	for _, p := range []string{path, path + ".1"} {
		if b, err := os.ReadFile(p); err != nil || bytes.Count(b, []byte("\n")) != 1 {
			t.Errorf("%s: %v %q", p, err, b)
		}
	}
}

type failing struct{ broken bool }

func (f *failing) Write(p []byte) (int, error) {
	if f.broken {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestAFileThatCannotBeWrittenLosesLinesAndIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &failing{broken: true}
		m := NewMetrics(nil)
		a := NewAccessLog(AccessOptions{Config: config.AccessLog{Mode: "full"}, Out: out, Metrics: m})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = a.Run(ctx) }()
		a.Write(line())
		synctest.Wait()
		out.broken = false
		a.Write(line()) // too early
		synctest.Wait()
		time.Sleep(retryOpen)
		a.Write(line())
		synctest.Wait()
		cancel()
		if w, d := m.node.accessWritten.Load(), m.node.accessDropped.Load(); w != 1 || d != 2 {
			t.Errorf("written %d, dropped %d; want 1 and 2", w, d)
		}
	})
}

func TestCheckAccessLogSaysWhatToDo(t *testing.T) {
	err := CheckAccessLog(config.AccessLog{Mode: "full", Path: filepath.Join(t.TempDir(), "no/such/access.log")})
	if err == nil || !strings.Contains(err.Error(), "make the folder") {
		t.Errorf("got %v", err)
	}
	if err := CheckAccessLog(config.AccessLog{Mode: "off", Path: "/no/such"}); err != nil {
		t.Errorf("off: %v", err)
	}
}

func TestWriteDoesNotAllocate(t *testing.T) {
	a := NewAccessLog(AccessOptions{Config: config.AccessLog{Mode: "full"}, Out: &failing{}})
	l := line()
	w := accessWriter{log: a}
	w.buf = make([]byte, 0, batchBytes)
	if n := testing.AllocsPerRun(1000, func() {
		a.Write(l)
		w.batch(<-a.full)
	}); n != 0 {
		t.Errorf("%v allocations for a line", n)
	}
}

func BenchmarkAccessWrite(b *testing.B) {
	a := NewAccessLog(AccessOptions{Config: config.AccessLog{Mode: "full"}})
	l := line()
	b.ReportAllocs()
	for range b.N {
		a.Write(l)
		a.give(<-a.full)
	}
}

func BenchmarkAccessEncode(b *testing.B) {
	l := line()
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for range b.N {
		l.appendJSON(buf)
	}
}
