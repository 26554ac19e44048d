package resilience

import "context"

// Refusal is a call that a gate did not let through.
type Refusal struct {
	Gate     string // its name in Report
	Err      error
	Priority Priority
	Attempt  int
	Context  context.Context // of the call
}

// Report is a gate that tells of what another refuses. Observer.Gate makes one of an Observer. Use a pointer to it.
type Report struct {
	Gate Gate
	Name string
	Hook func(Refusal) // called before the caller learns of it; must be quick
}

// Enter enters the other gate.
func (r *Report) Enter(ctx context.Context) (Pass, error) {
	pass, err := r.Gate.Enter(ctx)
	if err != nil {
		r.Hook(Refusal{Gate: r.Name, Err: err, Priority: PriorityOf(ctx), Attempt: AttemptOf(ctx), Context: ctx})
	}
	return pass, err
}
