package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// golden holds got against testdata/name, which -update rewrites.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (rewrite with -update):\n%s", path, got)
	}
}

func TestStatusForPeople(t *testing.T) {
	golden(t, "status.txt", style{}.status(picture()))
	golden(t, "status-colour.txt", strings.ReplaceAll(style{colour: true}.status(picture()), "\x1b", "ESC"))
}

func TestColoursOnlyOnATerminal(t *testing.T) {
	if s := styleOf(&bytes.Buffer{}, os.Getenv); s.colour || s.terminal {
		t.Error("a buffer is taken for a terminal")
	}
	if got := (style{}).paint(red, "x"); got != "x" {
		t.Errorf("painted %q", got)
	}
	if got := (style{colour: true}).paint(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("painted %q", got)
	}
}

func TestAgesAndLatencies(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 59*time.Second + 999*time.Millisecond: "59s", 61 * time.Second: "1m1s", 2*time.Hour + 5*time.Minute: "2h5m",
		50 * time.Hour: "2d2h",
	} {
		if got := age(d); got != want {
			t.Errorf("age(%v) = %s, want %s", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		812 * time.Microsecond: "812µs", 2412 * time.Microsecond: "2.41ms", 1500 * time.Millisecond: "1.50s", 12345 * time.Millisecond: "12.3s", 5: "5ns",
	} {
		if got := brief(d); got != want {
			t.Errorf("brief(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestWhereTheSocketIs(t *testing.T) {
	env := func(kv ...string) func(string) string {
		return func(k string) string {
			for i := 0; i < len(kv); i += 2 {
				if kv[i] == k {
					return kv[i+1]
				}
			}
			return ""
		}
	}
	for _, c := range []struct{ got, want string }{
		{socketPath("/x.sock", "/data", env("BACKSTAY_SOCKET", "/y.sock")), "/x.sock"},
		{socketPath("", "/data", env("BACKSTAY_SOCKET", "/y.sock")), "/y.sock"},
		{socketPath("", "/data", env()), "/data/admin.sock"},
		{socketPath("", "", env("BACKSTAY_DATA", "/d")), "/d/admin.sock"},
		{dataDir("", env("HOME", "/root"), 0), "/var/lib/backstay"},
		{dataDir("", env("HOME", "/home/u", "XDG_STATE_HOME", "/s"), 1000), "/s/backstay"},
		{dataDir("", env("HOME", "/home/u"), 1000), "/home/u/.local/state/backstay"},
		{dataDir("", env(), 1000), filepath.Join(os.TempDir(), "backstay-1000")},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

// serve puts a fake node behind a socket until the returned function is called.
func serve(t *testing.T) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "admin.sock")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- api.NewServer(api.Options{Socket: socket, System: newFake()}).Run(ctx) }()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Since(begin) > time.Minute {
			t.Fatal("the fake node does not come up")
		}
	}
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			<-ended
		}
	}
	t.Cleanup(stop)
	return socket, stop
}

// sink calls seen with all that was written so far.
type sink struct {
	all  strings.Builder
	seen func(all string)
}

func (s *sink) Write(p []byte) (int, error) {
	s.all.Write(p)
	s.seen(s.all.String())
	return len(p), nil
}

func TestWatchGoesOnWhenTheNodeGoesAway(t *testing.T) {
	socket, stop := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stopped := false
	out := &sink{seen: func(all string) {
		if strings.Count(all, "node par-1 in zone a: ready") == 2 && !stopped {
			stopped = true
			stop()
		}
		if strings.Contains(all, "no node answers") {
			cancel()
		}
	}}
	code := Main(ctx, []string{"status", "--watch", "--every", "1ms", "--socket", socket}, Options{Out: out, Err: out})
	if code != exitOK || !stopped || !strings.Contains(out.all.String(), "is `backstay run` running?") {
		t.Errorf("exit code %d, %s", code, out.all.String())
	}
}

func TestFollowEndsQuietly(t *testing.T) {
	socket, _ := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out := &sink{seen: func(string) { cancel() }}
	if code := Main(ctx, []string{"events", "-f", "-n", "1", "--socket", socket}, Options{Out: out, Err: out, Zone: time.UTC}); code != exitOK {
		t.Errorf("exit code %d: %s", code, out.all.String())
	}
	if got, want := out.all.String(), "2026-03-01 12:02:03.000  service.down      pg  no member of pg can serve\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestWaitingEnds(t *testing.T) {
	socket, _ := serve(t)
	var out, errs bytes.Buffer
	o := Options{Out: &out, Err: &errs}
	// a has 11 at work, which do not end in the fake node.
	code := Main(t.Context(), []string{"drain", "--wait", "--timeout", "50ms", "--socket", socket, "shop/a"}, o)
	if code != exitTimeout || !strings.Contains(errs.String(), "shop/a still has 11 at work") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code := Main(ctx, []string{"drain", "--wait", "--socket", socket, "shop/a"}, o); code != exitInterrupted {
		t.Errorf("interrupted: exit code %d", code)
	}
}

func TestEveryExitCodeIsDistinct(t *testing.T) {
	seen := map[int]bool{}
	for _, e := range exits {
		if seen[e.code] {
			t.Errorf("%d twice", e.code)
		}
		seen[e.code] = true
	}
	if n := strings.Count(exitTable(), "\n") + 1; n != len(exits) {
		t.Errorf("the table has %d of %d codes", n, len(exits))
	}
}
