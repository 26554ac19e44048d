package sim

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/resilience"
)

var update = flag.Bool("update", false, "write docs/resilience.md and its pictures anew")

const (
	seed   = 3
	bucket = 500 * time.Millisecond
	ms     = time.Millisecond

	document = "../../docs/resilience.md"
	images   = "../../docs/img"
	begin    = "<!-- sim: begin -->\n"
	end      = "<!-- sim: end -->"
)

// scenarios in the order of the document.
var scenarios = []struct {
	name string
	play func(*testing.T, *recoveries) Section
}{
	{"metastable failure", metastable},
	{"overload", overload},
	{"slow member", slowMember},
	{"failing dependency", dependency},
	{"retry storm", storm},
}

func TestScenarios(t *testing.T) {
	sections := make([]*Section, len(scenarios))
	after := make([]recoveries, len(scenarios))
	t.Run("play", func(t *testing.T) {
		for i, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				section := s.play(t, &after[i])
				sections[i] = &section
			})
		}
	})
	if t.Failed() && !*update || slices.Contains(sections, nil) {
		return // only some were to be played
	}
	t.Run("report", func(t *testing.T) { report(t, sections, slices.Concat(after...)) })
}

// report compares the document with what the scenarios have shown, or writes it.
func report(t *testing.T, sections []*Section, after recoveries) {
	var text strings.Builder
	files := map[string]string{}
	for _, s := range append(sections, after.section()) {
		text.WriteString(s.Markdown("img"))
		for name, plot := range s.Plots {
			files[filepath.Join(images, name)] = plot.SVG()
		}
	}
	old, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(old), begin)
	_, behind, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has lost the markers %q and %q", document, begin, end)
	}
	files[document] = before + begin + "\n" + text.String() + end + behind
	for path, content := range files {
		if *update {
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		// Elsewhere multiplications and additions may be fused, and the last digits differ.
		if got, _ := os.ReadFile(path); string(got) != content && runtime.GOARCH == "amd64" {
			t.Errorf("%s does not show what the scenarios do now: run make sim, and look at what has changed", path)
		}
	}
}

// bubble runs f in simulated time.
func bubble(t *testing.T, f func()) {
	synctest.Test(t, func(*testing.T) { f() })
}

// recoveries is how long each variant of each scenario took to be normal again.
type recoveries []recovery

type recovery struct {
	scenario, variant string
	took              time.Duration
	ever              bool
	watched           time.Duration
}

func (r *recoveries) add(scenario, variant string, requests []*Request, share float64, after, length time.Duration) recovery {
	took, ever := Recovery(requests, share, after, length)
	*r = append(*r, recovery{scenario, variant, took, ever, length - after})
	return (*r)[len(*r)-1]
}

func (r recovery) String() string {
	switch {
	case !r.ever:
		return fmt.Sprintf("not within %g s", r.watched.Seconds())
	case r.took == 0:
		return "at once"
	}
	return cell(r.took)
}

func (r recoveries) section() *Section {
	s := &Section{
		Title: "Recovery",
		Text: `How long after the trigger has ended until, from then on, each second is as good as before it: at least 99 % of requests
get their answer (of the critical ones, under overload; a fallback's answer does not count).`,
		Table: Table{Heading: []string{"scenario", "variant", "normal again after"}},
	}
	for _, x := range r {
		s.Table.Add(x.scenario, x.variant, x.String())
	}
	return s
}

// flatten is all requests in the order in which they came.
func flatten(byClass map[string][]*Request) (all []*Request) {
	for _, requests := range byClass {
		all = append(all, requests...)
	}
	slices.SortFunc(all, func(a, b *Request) int { return int(a.At - b.At) })
	return all
}

func must(r *resilience.Retry, err error) *resilience.Retry {
	if err != nil {
		panic(err)
	}
	return r
}

// do is resilience.Do for calls that have no result.
func do(ctx context.Context, r *resilience.Retry, call func(context.Context) error) error {
	_, err := resilience.Do(ctx, r, func(ctx context.Context) (struct{}, error) { return struct{}{}, call(ctx) })
	return err
}

// guard is resilience.Guard for calls that have no result.
func guard(ctx context.Context, call func(context.Context) error, gates ...resilience.Gate) error {
	_, err := resilience.Guard(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, call(ctx) }, gates...)
	return err
}
