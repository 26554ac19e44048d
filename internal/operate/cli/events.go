package cli

import (
	"cmp"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/operate/api"
)

func (a *app) eventsCommand() *cobra.Command {
	var q api.EventQuery
	var asJSON bool
	c := &cobra.Command{
		Use:     "events",
		Short:   "Show what happened, and why",
		Example: "  backstay events -n 5\n  backstay events -f --service shop",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Last < 0 {
				return usagef(cmd, "-n %d: it is 0 (all) or more", q.Last)
			}
			lines := json.NewEncoder(a.Out)
			err := a.client().Events(cmd.Context(), q, func(r event.Record) error {
				if asJSON {
					return lines.Encode(r)
				}
				return a.print([]byte(a.event(r)))
			})
			if q.Follow && cmd.Context().Err() != nil {
				return nil // ^C is how following ends
			}
			return err
		},
	}
	f := c.Flags()
	f.BoolVarP(&q.Follow, "follow", "f", false, "go on with new events until ^C")
	f.IntVarP(&q.Last, "last", "n", 20, "only so many of the newest; 0 is all that the node keeps")
	f.Uint64Var(&q.Since, "since", 0, "only events after the one of this `number`")
	f.StringVar(&q.Service, "service", "", "only events of this `service`")
	f.BoolVar(&asJSON, "json", false, "print one JSON object for each event")
	_ = c.RegisterFlagCompletionFunc("service", a.completeServices)
	return c
}

// event writes one event for people: when, what, to what, a sentence, the evidence.
func (a *app) event(r event.Record) string {
	what := strings.Trim(r.Service+"/"+r.Member, "/")
	if what == "" {
		what = cmp.Or(r.Node, "-")
	}
	line := a.style.paint(dim, r.Time.In(a.Zone).Format("2006-01-02 15:04:05.000")) + "  " +
		a.style.paint(eventColour(r.Kind), r.Kind) + strings.Repeat(" ", max(0, 16-len(r.Kind))) + "  " +
		a.style.paint(bold, what) + "  " + r.Message
	if r.Evidence != "" {
		line += a.style.paint(dim, " ("+r.Evidence+")")
	}
	return strings.ReplaceAll(line, "\n", " ")
}

func eventColour(kind string) string {
	switch kind {
	case event.MemberUp, event.MemberRestored, event.MemberResumed, event.BreakerClosed, event.ServiceUp, event.ServiceCalm,
		event.ConfigApplied, event.NodeReady, event.ResolveRecovered:
		return green
	case event.MemberDown, event.MemberEjected, event.BreakerOpen, event.ServiceDown, event.ServicePanic, event.ConfigRefused,
		event.CertificateFailed:
		return red
	}
	return yellow
}
