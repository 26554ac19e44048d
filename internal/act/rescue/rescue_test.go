package rescue

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/base/event"
)

const day = 24 * time.Hour

func TestTend(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		limits Limits
		days   []int // age of each, of 1 MiB
		left   []int
		kinds  []string
	}{
		"nothing":                     {Limits{}, nil, nil, nil},
		"within all":                  {Limits{}, []int{80, 8, 1}, []int{80, 8, 1}, nil},
		"too old":                     {Limits{}, []int{100, 91, 80}, []int{80}, []string{act.EventPruned, act.EventPruned}},
		"too many":                    {Limits{Count: 2}, []int{30, 20, 10}, []int{20, 10}, []string{act.EventPruned}},
		"too big":                     {Limits{Size: 2<<20 + 1}, []int{30, 20, 10}, []int{20, 10}, []string{act.EventPruned}},
		"too many, and young":         {Limits{Count: 1}, []int{3, 2, 1}, []int{3, 2, 1}, []string{act.EventRescueFull}},
		"too big, old and young":      {Limits{Size: 1 << 20}, []int{30, 3, 2}, []int{3, 2}, []string{act.EventPruned, act.EventRescueFull}},
		"kept for longer by one line": {Limits{Count: 1, Keep: 60 * day}, []int{70, 30, 20}, []int{30, 20}, []string{act.EventPruned, act.EventRescueFull}},
	} {
		t.Run(name, func(t *testing.T) {
			var kinds []string
			tell := act.NewTeller("db", "a", func(r event.Record) { kinds = append(kinds, r.Kind) }, slog.New(slog.DiscardHandler))
			k := New(t.TempDir(), tell, c.limits)
			for _, d := range c.days {
				dir := k.At(now.Add(-time.Duration(d) * day))
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "wal"), make([]byte, 1<<20), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.MkdirAll(filepath.Join(k.Dir(), "mine"), 0o700); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second looks at nothing: it is too soon
				if err := k.Tend(now); err != nil {
					t.Fatal(err)
				}
			}
			if err := k.Tend(now.Add(2 * time.Hour)); err != nil { // and this one has nothing new to say
				t.Fatal(err)
			}
			all, err := k.Copies()
			if err != nil {
				t.Fatal(err)
			}
			var left []int
			for _, one := range all {
				left = append(left, int(now.Sub(one.At)/day))
			}
			if !slices.Equal(left, c.left) || !slices.Equal(kinds, c.kinds) {
				t.Errorf("left are %v, want %v; said was %v, want %v", left, c.left, kinds, c.kinds)
			}
			if _, err := os.Stat(filepath.Join(k.Dir(), "mine")); err != nil {
				t.Error("another's folder was removed")
			}
		})
	}
}
