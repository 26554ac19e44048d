package health

import (
	"fmt"

	"github.com/backstay/backstay/internal/base/event"
)

// Record puts the transition into words for the event log.
func (t Transition) Record() event.Record {
	r := event.Record{
		Time: t.To.Since, Service: t.Service, Member: t.Member, Evidence: t.To.Evidence,
		Fields: map[string]any{"from": string(t.From.State), "to": string(t.To.State), "address": t.Address},
	}
	switch t.To.State {
	case Up:
		r.Kind, r.Message = event.MemberUp, fmt.Sprintf("%s of %s is up", t.Member, t.Service)
		if t.From.State == Down {
			r.Message += fmt.Sprintf(" again after %s", short(t.To.Since.Sub(t.From.Since)))
		}
	case Down:
		r.Kind, r.Message = event.MemberDown, fmt.Sprintf("%s of %s is down", t.Member, t.Service)
	default:
		r.Kind, r.Message = event.MemberStarting, fmt.Sprintf("%s of %s is %s", t.Member, t.Service, t.To.State)
	}
	return r
}
