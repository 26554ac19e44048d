package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/operate/api"
)

// A replayed is what asking today's rules about recorded views has brought.
type replayed struct {
	Views       int                   `json:"views"`
	Missed      int                   `json:"missed"` // not recorded, for want of a quick disk
	From        time.Time             `json:"from,omitzero"`
	To          time.Time             `json:"to,omitzero"`
	Differences []failover.Difference `json:"differences"`
}

func (a *app) replayCommand() *cobra.Command {
	var service string
	var asJSON bool
	c := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Ask today's rules about views that were recorded",
		Long: "A node records what it knew each time it decided on something, in views/SERVICE.jsonl below its data folder. This asks\n" +
			"the rules of this program about each and shows where they decide otherwise than was decided. It needs no running node.\n" +
			"The exit code is 1 where there is a difference.",
		Example: "  backstay replay /var/lib/backstay/views/db.jsonl",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			sum := replayed{Differences: []failover.Difference{}}
			for _, path := range args {
				if err := a.replay(path, service, &sum); err != nil {
					return err
				}
			}
			if sum.Views == 0 {
				return api.Errorf(api.NotFound, "no view was recorded there%s", map[bool]string{true: " of service " + service}[service != ""])
			}
			if asJSON {
				if err := a.printJSON(sum); err != nil {
					return err
				}
			} else {
				a.printReplay(sum)
			}
			if len(sum.Differences) > 0 {
				return reported{errors.New("decided otherwise")}
			}
			return nil
		},
	}
	c.Flags().StringVar(&service, "service", "", "only views of the service of this `name`")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// replay reads one file; - is the standard input.
func (a *app) replay(path, service string, sum *replayed) error {
	in := a.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return api.Errorf(api.NotFound, "%v", err)
		}
		defer f.Close()
		in = f
	}
	lines := bufio.NewReader(in)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if len(line) > 1 {
			var r failover.Recorded
			if bad := json.Unmarshal(line, &r); bad != nil || r.Service == "" {
				return api.Errorf(api.Invalid, "%s:%d is not a recorded view (%v): give the file views/SERVICE.jsonl of a node's data folder", path, n, bad)
			}
			if service == "" || r.Service == service {
				sum.add(r)
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

func (s *replayed) add(r failover.Recorded) {
	if s.Views++; s.Views == 1 {
		s.From = r.At
	}
	s.To, s.Missed = r.At, s.Missed+r.Missed
	if d, differs := failover.Replay(r); differs {
		s.Differences = append(s.Differences, d)
	}
}

func (a *app) printReplay(s replayed) {
	for _, d := range s.Differences {
		a.printf("%s %s, seen by %s\n", d.At.In(a.Zone).Format(time.RFC3339Nano), d.Service, d.Node)
		a.printf("  then   %s\n  today  %s\n", indented(d.Then), indented(d.Today))
	}
	a.printf("%s from %s to %s: %d decided otherwise today\n", count(s.Views, "view"),
		s.From.In(a.Zone).Format(time.RFC3339), s.To.In(a.Zone).Format(time.RFC3339), len(s.Differences))
	if s.Missed > 0 {
		a.printf("%s not recorded: the disk was too slow\n", count(s.Missed, "view"))
	}
}

// indented is a decision below its first line.
func indented(d failover.Decision) string { return indent(indent(indent(indent(d.String()))))[8:] }
