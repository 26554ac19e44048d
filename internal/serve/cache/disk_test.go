package cache

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// kept runs a cache with files until the test, or stop, ends it.
func kept(t testing.TB, o Options) (c *Cache, stop func()) {
	t.Helper()
	c = serving(o)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	eventually(t, "the files are found", func() bool {
		d := c.disk.Load()
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.lost == nil
	})
	return c, stop
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after 10 s: %s", what)
		}
	}
}

func written(t testing.TB, c *Cache, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d files", n), func() bool { u := c.Usage(); return u.Files == n && u.Pending == 0 })
}

func files(t testing.TB, dir string) (all []string, bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			all = append(all, path)
			if info, err := e.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, bytes
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	c, stop := kept(t, Options{Dir: dir})
	long := strings.Repeat("0123456789", 20_000)
	keep(t, c, ask(t, "GET /a"), answer(t, 200, "Cache-Control: max-age=3600", "Age: 100", `ETag: "a"`, "X-A: b"), long)
	keep(t, c, ask(t, "GET /b", "Foo: 1"), answer(t, 404, "Cache-Control: max-age=3600", "Vary: Foo"), "one")
	keep(t, c, ask(t, "GET /b", "Foo: 2"), answer(t, 200, "Cache-Control: max-age=3600", "Vary: Foo"), "")
	stop() // what waits to be written still is
	if all, _ := files(t, dir); len(all) != 3 {
		t.Fatalf("%q", all)
	}

	c, _ = kept(t, Options{Dir: dir})
	written(t, c, 3)
	q := ask(t, "GET /a")
	d := open(c, q)
	if d.Verdict != Fresh {
		t.Fatalf("%v %s", d.Verdict, d.Why)
	}
	_, res, body := given(t, d.Entry, q)
	if body != long || string(res.Find("X-A").Value) != "b" || d.Entry.etag != `"a"` {
		t.Errorf("%d bytes, %v", len(body), res.Fields)
	}
	if age := d.Entry.Age(time.Now()); age < 100*time.Second || age > 110*time.Second {
		t.Errorf("age %v", age)
	}
	for foo, want := range map[string]string{"1": "404 one", "2": "200 "} {
		q := ask(t, "GET /b", "Foo: "+foo)
		status, _, body := given(t, open(c, q).Entry, q)
		if got := fmt.Sprint(status, " ", body); got != want {
			t.Errorf("Foo: %s gets %s", foo, got)
		}
	}
	if d := open(c, ask(t, "GET /b", "Foo: 3")); d.Verdict != Miss || d.Why != "vary-miss" {
		t.Errorf("%v %s", d.Verdict, d.Why)
	}
	c.check(t)
}

// TestWhatMemoryLoses is found on disk.
func TestWhatMemoryLoses(t *testing.T) {
	c, _ := kept(t, Options{Dir: t.TempDir(), Memory: 1 << 20})
	const n = 60
	for i := range n {
		keep(t, c, ask(t, fmt.Sprint("GET /", i)), answer(t, 200, "Cache-Control: max-age=3600"), fmt.Sprint(i, strings.Repeat("x", 40_000)))
		written(t, c, i+1)
	}
	if u := c.Usage(); u.Entries > n/2 {
		t.Fatalf("%+v", u)
	}
	for i := range n {
		q := ask(t, fmt.Sprint("GET /", i))
		d := open(c, q)
		if d.Verdict != Fresh {
			t.Fatalf("%d: %v", i, d.Verdict)
		}
		if _, _, body := given(t, d.Entry, q); !strings.HasPrefix(body, fmt.Sprint(i, "x")) {
			t.Errorf("%d gets %.10s", i, body)
		}
		if u := c.Usage(); u.Memory+u.Writing > 1<<20 {
			t.Fatalf("%+v", u)
		}
	}
	c.check(t)
}

func TestDiskIsBounded(t *testing.T) {
	dir := t.TempDir()
	const limit = 1 << 20
	c, stop := kept(t, Options{Dir: dir, Disk: limit})
	for i := range 100 {
		keep(t, c, ask(t, fmt.Sprint("GET /", i)), answer(t, 200, "Cache-Control: max-age=3600"), strings.Repeat("x", 30_000))
		eventually(t, "written", func() bool { return c.Usage().Pending == 0 })
		if _, bytes := files(t, dir); bytes > limit {
			t.Fatalf("%d bytes of files", bytes)
		}
	}
	u := c.Usage()
	all, _ := files(t, dir)
	if u.Files < 25 || u.Disk > limit || len(all) != u.Files {
		t.Errorf("%+v, %d files", u, len(all))
	}
	stop()
	c, _ = kept(t, Options{Dir: dir, Disk: limit / 4}) // a smaller bound
	if all, bytes := files(t, dir); bytes > limit/4 || len(all) < 5 || c.Usage().Files != len(all) {
		t.Errorf("%d bytes in %d files", bytes, len(all))
	}
	if open(c, ask(t, "GET /99")).Verdict != Fresh {
		t.Error("the newest was thrown out")
	}
}

// TestInvalidatedFilesStayAway: after a change neither memory, nor a file, nor one that was about to be written comes back, restarts included.
func TestInvalidatedFilesStayAway(t *testing.T) {
	dir := t.TempDir()
	c, stop := kept(t, Options{Dir: dir})
	for i := range 50 {
		q := ask(t, "GET /a")
		keep(t, c, q, answer(t, 200, "Cache-Control: max-age=3600"), fmt.Sprint("before ", i))
		if i%2 == 0 {
			written(t, c, 1)
		}
		c.Invalidate(ask(t, "POST /a"), answer(t, 200))
		if d := open(c, q); d.Verdict != Miss {
			t.Fatal("memory has it")
		}
	}
	written(t, c, 0)
	stop()
	if all, _ := files(t, dir); len(all) != 0 {
		t.Fatalf("%q", all)
	}
	keepOne := func() {
		c, stop := kept(t, Options{Dir: dir})
		keep(t, c, ask(t, "GET /a"), answer(t, 200, "Cache-Control: max-age=3600"), "before")
		written(t, c, 1)
		stop()
	}
	keepOne()
	c = serving(Options{Dir: dir}) // the change comes before the files have been looked through
	c.Invalidate(ask(t, "POST /a"), answer(t, 200))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.disk.Load().scan(ctx)
	if d := open(c, ask(t, "GET /a")); d.Verdict != Miss {
		t.Error("an answer from before the change came back with the restart")
	}
	if all, _ := files(t, dir); len(all) != 0 {
		t.Errorf("%q", all)
	}
}

func TestReplacedFiles(t *testing.T) {
	dir := t.TempDir()
	c, stop := kept(t, Options{Dir: dir})
	for i := range 20 {
		keep(t, c, ask(t, "GET /a"), answer(t, 200, "Cache-Control: max-age=3600"), fmt.Sprint("version ", i))
	}
	written(t, c, 1)
	stop()
	c, _ = kept(t, Options{Dir: dir})
	q := ask(t, "GET /a")
	if _, _, body := given(t, open(c, q).Entry, q); body != "version 19" {
		t.Error(body)
	}
}

// TestDamagedFiles: a file with any byte changed, cut off or added is never given, and removed.
func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	c, stop := kept(t, Options{Dir: dir})
	keep(t, c, ask(t, "GET /a", "Foo: 1"), answer(t, 200, "Cache-Control: max-age=3600", "Vary: Foo"), "0123456789")
	written(t, c, 1)
	stop()
	all, _ := files(t, dir)
	good, err := os.ReadFile(all[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode(good, &Options{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if _, err := decode(bad, &Options{}, time.Now()); err == nil {
			t.Errorf("byte %d of %d may be changed", i, len(good))
		}
		if _, err := decode(good[:i], &Options{}, time.Now()); err == nil {
			t.Errorf("%d bytes are enough", i)
		}
	}
	if _, err := decode(append(bytes.Clone(good), 0), &Options{}, time.Now()); err == nil {
		t.Error("a byte may be added")
	}
	if _, err := decode(good, &Options{}, time.Now().Add(-time.Hour)); err == nil {
		t.Error("an answer from the future is given")
	}
	c, _ = kept(t, Options{Dir: dir})
	good[len(good)-8] ^= 1 // while it is in use
	if err := os.WriteFile(all[0], good, 0o600); err != nil {
		t.Fatal(err)
	}
	if d := open(c, ask(t, "GET /a", "Foo: 1")); d.Verdict != Miss {
		t.Error("a damaged answer is given")
	}
	if all, _ := files(t, dir); len(all) != 0 || c.Usage().Files != 0 {
		t.Errorf("%q stay", all)
	}
}

func TestScanCleansUp(t *testing.T) {
	dir := t.TempDir()
	_ = os.MkdirAll(filepath.Join(dir, "ab"), 0o700)
	half, wrong, strange := filepath.Join(dir, temporary+"1"), filepath.Join(dir, "ab", strings.Repeat("a", 32)), filepath.Join(dir, "README")
	for _, f := range []string{half, wrong, strange} {
		if err := os.WriteFile(f, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kept(t, Options{Dir: dir})
	if all, _ := files(t, dir); len(all) != 1 || all[0] != strange {
		t.Errorf("%q", all)
	}
}

// TestDiskFails: a directory that cannot be written makes the cache smaller, and nothing else; when it works again, so do the files.
func TestDiskFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not a directory")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := kept(t, Options{Dir: dir})
	q := ask(t, "GET /a")
	if o := keep(t, c, q, answer(t, 200, "Cache-Control: max-age=3600"), "x"); o != Stored {
		t.Errorf("outcome %d", o)
	}
	d := c.disk.Load()
	eventually(t, "the failure is seen", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.failed })
	if open(c, q).Verdict != Fresh {
		t.Error("memory does not serve")
	}
	u := c.Usage()
	if u.Disk != 0 || u.Pending != 0 || u.Files != 0 {
		t.Errorf("%+v", u)
	}
	_ = os.Remove(dir)
	d.mu.Lock()
	d.rest = time.Time{} // the time of rest is over
	d.mu.Unlock()
	keep(t, c, ask(t, "GET /b"), answer(t, 200, "Cache-Control: max-age=3600"), "x")
	written(t, c, 1)
}

// TestDiskFull writes to a file system that has no room.
func TestDiskFull(t *testing.T) {
	var limit, old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit = old
	limit.Cur = 64 << 10 // a write past it fails as one to a full disk does, half way through
	dir := t.TempDir()
	c, _ := kept(t, Options{Dir: dir})
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old) }()
	q := ask(t, "GET /a")
	keep(t, c, q, answer(t, 200, "Cache-Control: max-age=3600"), strings.Repeat("x", 500_000))
	d := c.disk.Load()
	eventually(t, "the failure is seen", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.failed })
	if all, _ := files(t, dir); len(all) != 0 {
		t.Errorf("%q is left behind", all)
	}
	if u := c.Usage(); u.Disk != 0 || u.Pending != 0 {
		t.Errorf("%+v", u)
	}
	if _, _, body := given(t, open(c, q).Entry, q); len(body) != 500_000 {
		t.Errorf("%d bytes", len(body))
	}
}

// TestSlowDiskIsSkipped: what the disk cannot take in time is not written; the bound on what waits holds.
func TestSlowDiskIsSkipped(t *testing.T) {
	c := serving(Options{Dir: t.TempDir(), Memory: 4 << 20}) // nobody runs it
	for i := range 100 {
		keep(t, c, ask(t, fmt.Sprint("GET /", i)), answer(t, 200, "Cache-Control: max-age=3600"), strings.Repeat("x", 30_000))
		if u := c.Usage(); u.Pending > 4<<20/pendingShare || u.Pending+u.Memory+u.Writing > 4<<20 {
			t.Fatalf("%+v", u)
		}
	}
}

func TestSetFollowsTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	s := NewSet()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	a := s.Get("a")
	s.Apply(map[string]Options{"a": {Serve: true, Dir: filepath.Join(dir, "a")}, "b": {Serve: true}})
	wg.Go(func() { _ = s.Run(ctx) })
	if s.Get("a") != a || len(s.Usage()) != 2 {
		t.Error("another cache for the same service")
	}
	keep(t, a, ask(t, "GET /"), answer(t, 200, fresh), "x")
	written(t, a, 1)
	s.Apply(map[string]Options{"a": {Serve: true, Dir: filepath.Join(dir, "elsewhere")}})
	if len(s.Usage()) != 1 || open(a, ask(t, "GET /")).Verdict != Fresh {
		t.Error("memory did not survive")
	}
	keep(t, a, ask(t, "GET /2"), answer(t, 200, fresh), "x")
	written(t, a, 1)
	s.Apply(map[string]Options{"a": {Serve: true}})
	if u := a.Usage(); u.Files != 0 || u.Entries != 2 {
		t.Errorf("%+v", u)
	}
	cancel()
	wg.Wait()
	for _, sub := range []string{"a", "elsewhere"} {
		if all, _ := files(t, filepath.Join(dir, sub)); len(all) != 1 {
			t.Errorf("%s: %q", sub, all)
		}
	}
}

// FuzzFile holds that no bytes make decode fail other than by an error.
func FuzzFile(f *testing.F) {
	e := &Entry{key: "h /", hidden: "x", by: []selector{{"foo", "=1"}}, Status: 200, head: []byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"), body: [][]byte{{'x'}}, size: 1, requested: time.Now(), received: time.Now()}
	f.Add(bytes.Join(encode(e), nil))
	f.Add([]byte(fileMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decode(b, &Options{Heuristic: 0.1}, time.Now())
		if err == nil && (e.size < 0 || e.Status < 200) {
			t.Errorf("%+v", e)
		}
	})
}
