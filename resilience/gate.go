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
	Ticket uint32
	Number int32
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
	switch len(gates) {
	case 0:
		return call(ctx)
	case 1:
		if b, ok := gates[0].(*Breaker); ok {
			if e := b.era.Load(); e.simple {
				return simply(ctx, call, b, e)
			} else if e.shut() {
				b.refused.add(1)
				return result, ErrOpen
			}
		}
	}
	pass, err := gates[0].Enter(ctx)
	if err != nil {
		return result, err
	}
	err = errPanicked // what the gate is told unless the call returns
	defer func() { pass.Leave(err) }()
	result, err = Guard(ctx, call, gates[1:]...) // a frame for each gate is cheaper than a list of passes
	return result, err
}

// simply makes a call behind a breaker that is closed and goes by failures in a row alone: Guard without what it has no use for.
func simply[T any](ctx context.Context, call func(context.Context) (T, error), b *Breaker, e *era) (result T, err error) {
	returned := false
	defer func() {
		if !returned {
			Permit{breaker: b, era: e.number}.Done(Failure, 0)
		}
	}()
	result, err = call(ctx)
	returned = true
	if err != nil {
		Permit{breaker: b, era: e.number}.DoneAfter(Judge(err), 0, retryAfter(err))
	} else if s := &e.tally.streak; s.Load() != 0 {
		s.Store(0) // also where the era has ended, as nobody looks at its tally then
	}
	return result, err
}

// EnterAll enters gates for something that outlives a function, a stream say, as Guard does for a call. leave must be called
// exactly once where err is nil, with how it ended.
func EnterAll(ctx context.Context, gates ...Gate) (leave func(error), err error) {
	passes := make([]Pass, 0, len(gates))
	leave = func(err error) {
		for i := len(passes) - 1; i >= 0; i-- {
			passes[i].Leave(err)
		}
	}
	for _, gate := range gates {
		pass, refused := gate.Enter(ctx)
		if refused != nil {
			leave(refused)
			return nil, refused
		}
		passes = append(passes, pass)
	}
	return leave, nil
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
	e := b.era.Load()
	pass := Pass{Gate: b, Ticket: e.number}
	if e.state != Closed {
		p, err := b.probe(e)
		if err != nil {
			return Pass{}, err
		}
		pass.Ticket, pass.Number = p.era, int32(p.probe)
	}
	if e.options.SlowRate > 0 {
		pass.Begun = b.clock.now()
	}
	return pass, nil
}

// Leave takes the result of a call that Enter admitted.
func (b *Breaker) Leave(pass Pass, err error) {
	o := &b.era.Load().options
	var took, after time.Duration
	if o.SlowRate > 0 && pass.Begun > 0 {
		took = b.clock.now() - pass.Begun
	}
	outcome := Success
	if err != nil || o.Classify != nil {
		judge := o.Classify
		if judge == nil {
			judge = Judge
		}
		outcome, after = judge(err), retryAfter(err)
	}
	Permit{breaker: b, era: pass.Ticket, probe: int(pass.Number)}.DoneAfter(outcome, took, after)
}

// Enter takes a place as Acquire does, or, where the limit is Weighted, as many as AcquireN does for the context's cost.
func (l *Limit) Enter(ctx context.Context) (Pass, error) {
	if !l.weighs.Load() {
		if err := l.Acquire(ctx); err != nil {
			return Pass{}, err
		}
		return Pass{Gate: l, Number: 1}, nil
	}
	taken, err := l.AcquireN(ctx, CostOf(ctx))
	if err != nil {
		return Pass{}, err
	}
	return Pass{Gate: l, Number: int32(taken)}, nil
}

// Leave gives the places back.
func (l *Limit) Leave(p Pass, _ error) { l.ReleaseN(int(p.Number)) }
