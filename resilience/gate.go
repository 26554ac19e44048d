package resilience

import (
	"context"
	"errors"
	"time"
)

// Gate admits or refuses a call; the Pass learns how the call ended. An error of a gate's own wraps ErrRefused. Breaker, Limit,
// Adaptive, Rate, Throttle, Shed and Deadline are gates.
type Gate interface {
	Enter(ctx context.Context) (Pass, error)
}

// Pass is the place of one call inside a gate. Leave must be called on it exactly once. It is a value and not a function, so that
// passing a gate allocates nothing; a gate of one's own keeps what it needs to know of a call in Begun, Ticket and Number.
type Pass struct {
	Gate   Leaver        // nil: nothing to give back
	Begun  time.Duration // when the call began, on the gate's clock
	Ticket uint64
	Number int
}

// Leaver takes a Pass back.
type Leaver interface {
	Leave(p Pass, err error)
}

// Leave tells the gate how the call ended.
func (p Pass) Leave(err error) {
	if p.Gate != nil {
		p.Gate.Leave(p, err)
	}
}

// Guard makes a call behind gates, which are entered in the given order and left in the reverse one, also when the call
// panics. If one refuses, the call is not made.
func Guard[T any](ctx context.Context, call func(context.Context) (T, error), gates ...Gate) (result T, err error) {
	var few [8]Pass
	passes := few[:0]
	err = errPanicked // what the gates are told unless the call returns
	defer func() {
		for i := len(passes) - 1; i >= 0; i-- {
			passes[i].Leave(err)
		}
	}()
	for _, gate := range gates {
		pass, refused := gate.Enter(ctx)
		if refused != nil {
			err = refused
			return result, err
		}
		passes = append(passes, pass)
	}
	result, err = call(ctx)
	return result, err
}

var errPanicked = errors.New("the call panicked")

// Judge is how errors count where no classification is given. Nil is a success. Ignored are calls that say nothing about the other
// side: refused before they were made (ErrRefused), or given up by the caller (context.Canceled). All else, a missed deadline
// included, is a failure.
func Judge(err error) Outcome {
	switch {
	case err == nil:
		return Success
	case errors.Is(err, ErrRefused), errors.Is(err, context.Canceled):
		return Ignored
	}
	return Failure
}

// Enter admits a call as Allow does; when it ends, its error is judged by Classify.
func (b *Breaker) Enter(context.Context) (Pass, error) {
	p, err := b.Allow()
	if err != nil {
		return Pass{}, err
	}
	pass := Pass{Gate: b, Ticket: p.era, Number: p.probe}
	if b.era.Load().options.SlowRate > 0 {
		pass.Begun = b.clock.now()
	}
	return pass, nil
}

// Leave takes the result of a call that Enter admitted.
func (b *Breaker) Leave(pass Pass, err error) {
	o := &b.era.Load().options
	judge := o.Classify
	if judge == nil {
		judge = Judge
	}
	var took, after time.Duration
	if o.SlowRate > 0 && pass.Begun > 0 {
		took = b.clock.now() - pass.Begun
	}
	if err != nil {
		after = retryAfter(err)
	}
	Permit{breaker: b, era: pass.Ticket, probe: pass.Number}.DoneAfter(judge(err), took, after)
}

// Enter takes a place as Acquire does.
func (l *Limit) Enter(ctx context.Context) (Pass, error) {
	if err := l.Acquire(ctx); err != nil {
		return Pass{}, err
	}
	return Pass{Gate: l}, nil
}

// Leave gives the place back.
func (l *Limit) Leave(Pass, error) { l.Release() }
