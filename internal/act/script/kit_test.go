package script

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act/conformance"
)

// lab is three engines over the tiny service of testdata.
type lab struct {
	dir     string
	program string
	engines map[string]*Engine
	ends    map[string]func()
}

func newLab(t *testing.T, change func(*Options)) *lab {
	t.Helper()
	program, err := filepath.Abs("testdata/service")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t.TempDir(), program, map[string]*Engine{}, map[string]func(){}}
	word := func(name string) []string { return []string{program, name} }
	for _, n := range []string{"a", "b", "c"} {
		o := Options{
			Node: n, Service: "db", DataDir: filepath.Join(l.dir, "engine-"+n), Peers: map[string]string{}, Every: 200 * time.Millisecond,
			Env: []string{"TINY=" + l.dir},
			Commands: Commands{
				Observe: word("observe"), Promote: word("promote"), Demote: word("demote"), Follow: word("follow"),
				Create: word("create"), Rewind: word("rewind"), Start: word("start"), Stop: word("stop"), Checkpoint: word("checkpoint"),
			},
		}
		for _, p := range []string{"a", "b", "c"} {
			if p != n {
				o.Peers[p] = p + ".example:1"
			}
		}
		if change != nil {
			change(&o)
		}
		e := New(o)
		l.engines[n] = e
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		l.ends[n] = sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run %s: %v", n, err)
			}
		})
		t.Cleanup(l.ends[n])
	}
	return l
}

func (l *lab) Engine(node string) conformance.Engine { return l.engines[node] }

// service runs one of the service's commands by hand.
func (l *lab) service(ctx context.Context, node string, words ...string) error {
	cmd := exec.CommandContext(ctx, l.program, words...)
	cmd.Env = append(os.Environ(), "TINY="+l.dir, "BACKSTAY_NODE="+node)
	return cmd.Run()
}

func (l *lab) Write(ctx context.Context, node, value string) error {
	return l.service(ctx, node, "write", value)
}

func (l *lab) Values(_ context.Context, node string) ([]string, error) {
	return l.lines(node, "values")
}

func (l *lab) lines(node, file string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(l.dir, node, file))
	return strings.Split(strings.TrimSpace(string(text)), "\n"), err
}

func (l *lab) Crash(t *testing.T, node string) {
	t.Helper()
	if err := l.service(t.Context(), node, "stop"); err != nil {
		t.Fatal(err)
	}
}
