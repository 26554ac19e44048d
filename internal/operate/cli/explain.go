package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/operate/api"
)

func (a *app) explainCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain [SERVICE|EVENT]",
		Short: "Say what is thought of a service, by which rule and from which facts, and why not otherwise",
		Long: "Of a service: what is agreed, what is known of each node, the rule that decides and why the others do not, what is under\n" +
			"way, and the proof of the last change of primary. Of an event, by its number in `backstay events --json`, or of a plan, by\n" +
			"its name: what was done, why, and the proof that nothing was lost. All services with an engine where neither is given.",
		Example:           "  backstay explain db\n  backstay explain 4711\n  backstay explain db --json | jq .considered",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := short(cmd.Context())
			defer cancel()
			if len(args) == 1 {
				if seq, err := strconv.ParseUint(args[0], 10, 64); err == nil {
					return a.explainEvent(ctx, seq, asJSON)
				}
				e, err := a.client().Explain(ctx, args[0])
				if kind(err, api.NotFound) {
					if proof, ok := a.proof(ctx, args[0]); ok {
						return a.printProof(proof, asJSON)
					}
				}
				return a.printExplained(e, err, asJSON)
			}
			return a.explainAll(ctx, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printExplained(e api.Explained, err error, asJSON bool) error {
	switch {
	case err != nil:
		return err
	case asJSON:
		return a.printJSON(e.Explanation)
	}
	a.printf("%s\n", strings.TrimRight(e.Text, "\n"))
	return nil
}

// stateful lists the services with an engine.
func (a *app) stateful(ctx context.Context) ([]string, error) {
	s, err := a.client().Status(ctx)
	var names []string
	for _, svc := range s.Services {
		if len(svc.Instances) > 0 {
			names = append(names, svc.Name)
		}
	}
	if err == nil && len(names) == 0 {
		err = api.Errorf(api.NotFound, "no service of node %s has an engine", s.Node)
	}
	return names, err
}

func (a *app) explainAll(ctx context.Context, asJSON bool) error {
	names, err := a.stateful(ctx)
	if err != nil {
		return err
	}
	all := map[string]failover.Explanation{}
	for i, name := range names {
		e, err := a.client().Explain(ctx, name)
		if err != nil {
			return err
		}
		all[name] = e.Explanation
		if !asJSON {
			if i > 0 {
				a.printf("\n")
			}
			_ = a.printExplained(e, nil, false)
		}
	}
	if asJSON {
		return a.printJSON(all)
	}
	return nil
}

// proof finds what is kept of a plan.
func (a *app) proof(ctx context.Context, plan string) (failover.Proof, bool) {
	names, _ := a.stateful(ctx)
	for _, name := range names {
		e, err := a.client().Explain(ctx, name)
		if err != nil {
			continue
		}
		for _, p := range e.Explanation.History {
			if p.ID == plan {
				return p, true
			}
		}
	}
	return failover.Proof{}, false
}

func (a *app) printProof(p failover.Proof, asJSON bool) error {
	if asJSON {
		return a.printJSON(p)
	}
	a.printf("%s\n", p)
	return nil
}

// explainEvent shows an event, and the proof of the plan that it belongs to.
func (a *app) explainEvent(ctx context.Context, seq uint64, asJSON bool) error {
	var found *event.Record
	err := a.client().Events(ctx, api.EventQuery{Since: max(seq, 1) - 1}, func(r event.Record) error {
		if r.Seq == seq {
			found = &r
		}
		return nil
	})
	if err != nil {
		return err
	}
	if found == nil {
		return api.Errorf(api.NotFound, "there is no event %d any more, or not yet: `backstay events --json` lists those that are kept", seq)
	}
	id, _ := found.Fields["plan"].(string)
	proof, proven := failover.Proof{}, false
	if id != "" {
		proof, proven = a.proof(ctx, id)
	}
	if asJSON {
		out := struct {
			Event event.Record    `json:"event"`
			Proof *failover.Proof `json:"proof,omitempty"`
		}{Event: *found}
		if proven {
			out.Proof = &proof
		}
		return a.printJSON(out)
	}
	a.printf("event %d, %s: %s\n  on %s at %s", found.Seq, found.Kind, found.Message, found.Node, found.Time.In(a.Zone).Format(time.RFC3339Nano))
	if epoch, ok := found.Fields["epoch"]; ok {
		a.printf(", epoch %v", epoch)
	}
	a.printf("\n")
	if found.Evidence != "" {
		a.printf("  because %s\n", found.Evidence)
	}
	switch {
	case proven:
		a.printf("%s\n", proof)
	case id != "":
		a.printf("of plan %s, which is under way, changed no primary, or is too long ago to be kept\n", id)
	}
	if found.Service != "" && strings.HasPrefix(found.Kind, "failover.") {
		a.printf("what each node knew then is in %s on the node: see `backstay replay --help`\n", fmt.Sprintf("views/%s.jsonl", found.Service))
	}
	return nil
}
