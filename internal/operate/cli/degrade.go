package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/operate/api"
)

func (a *app) degradeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "degrade MODE on|off|auto",
		Short: "Turn a degradation mode on or off by hand",
		Long: "A mode that is on spares the service it names, and members are told of it in the header Backstay-Degraded. With auto\n" +
			"it goes by its own conditions again; one without any is turned off. `backstay status` shows the modes.",
		Example: "  backstay degrade recommendations-off on\n  backstay degrade recommendations-off auto",
		Args:    cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"on", "off", "auto"}, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			if s, err := a.status(cmd.Context()); err == nil && len(args) == 0 {
				for _, m := range s.Modes {
					names = append(names, m.Name)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := short(cmd.Context())
			defer cancel()
			if s := args[1]; s != "on" && s != "off" && s != "auto" {
				return &usageError{message: fmt.Sprintf("%q is no state of a mode: use on, off or auto", s), command: cmd.CommandPath()}
			}
			if err := a.client().Degrade(ctx, args[0], args[1]); err != nil {
				return err
			}
			if args[1] == "auto" {
				a.printf("%s goes by its own conditions\n", args[0])
			} else {
				a.printf("%s is %s, by hand\n", args[0], args[1])
			}
			return nil
		},
	}
}

// modes writes the degradation modes.
func (s style) modes(all []api.ModeStatus, now time.Time) string {
	rows := make([][]field, 0, len(all))
	for _, m := range all {
		state, colour := "off", green
		if m.On {
			state, colour = "on", yellow
		}
		since := "-"
		if !m.Since.IsZero() {
			since = age(now.Sub(m.Since))
		}
		why := "by hand only"
		if m.When != "" {
			why = fmt.Sprintf("%s at %.0f%%", m.When, 100*m.Signal)
		}
		if m.ByHand {
			why = "by hand"
		}
		rows = append(rows, []field{{m.Name, plain}, {state, colour}, {since, plain}, {m.Service, plain}, {why, dim}})
	}
	return s.table([]column{{"MODE", false}, {"STATE", false}, {"SINCE", true}, {"SPARES", false}, {"EVIDENCE", false}}, rows)
}

// protection says how busy a service is, in the words of its limit and its shedding.
func protection(svc api.ServiceStatus) (facts []string) {
	if l := svc.Limit; l != nil {
		kind := ""
		if l.Adaptive {
			kind = " (adaptive)"
		}
		facts = append(facts, fmt.Sprintf("limit %d%s", l.Concurrency, kind))
	}
	if d := svc.Shed; d != nil && d.AdmissionLevel < 1 {
		facts = append(facts, strings.TrimSpace(fmt.Sprintf("sheds below %s, admission level %.2f", d.Below, d.AdmissionLevel)))
	}
	return facts
}

// rates writes this node's shares of the rates that all nodes have together.
func (s style) rates(all []api.RateStatus) string {
	rows := make([][]field, 0, len(all))
	for _, r := range all {
		footing := yellow
		if r.Footing == "leased" {
			footing = green
		}
		rows = append(rows, []field{
			{r.Rate, plain}, {fmt.Sprintf("%.4g/s", r.Total), plain}, {fmt.Sprintf("%.4g/s", r.Share), plain}, {fmt.Sprintf("%.4g/s", r.Wanted), plain},
			{r.Footing, footing}, {r.Error, dim},
		})
	}
	return s.table([]column{{"SHARED RATE", false}, {"OF ALL", true}, {"HERE", true}, {"WANTED", true}, {"FOOTING", false}, {"EVIDENCE", false}}, rows)
}
