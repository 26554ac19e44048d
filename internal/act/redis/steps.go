package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/ledger"
	"github.com/backstay/backstay/internal/decide/plan"
)

func (e *Engine) halt(ctx context.Context, s plan.Step) error {
	if s.Mode == plan.Immediate {
		e.sup.Kill(ctx)
	} else {
		e.stop(ctx)
	}
	return nil
}

func (e *Engine) restart(ctx context.Context, s plan.Step) error {
	e.stop(ctx)
	return e.resume(ctx, s)
}

func (e *Engine) create(ctx context.Context, s plan.Step) error {
	if err := e.ledger.Update(func(st *ledger.State) { st.Copying = false }); err != nil {
		return err
	}
	return e.reign(ctx, s)
}

func (e *Engine) promote(ctx context.Context, s plan.Step) error {
	if e.empty() {
		return errors.New("there is no data to promote: create or clone it")
	}
	return e.reign(ctx, s)
}

// resume runs the instance as what it was.
func (e *Engine) resume(ctx context.Context, s plan.Step) error {
	if st := e.ledger.State(); !st.Standby && st.Reign > 0 {
		return e.reign(ctx, s)
	}
	if e.empty() && !e.ledger.State().Copying {
		return errors.New("there is no data to start: create or clone it")
	}
	if err := e.launch(ctx); err != nil {
		return err
	}
	if st := e.ledger.State(); st.Upstream != "" {
		return e.attach(ctx, st.Upstream, false)
	}
	return nil
}

// reign makes the instance the primary of the step's epoch, in a new life. In the same breath it writes the epoch, so that
// no client's write comes before it.
func (e *Engine) reign(ctx context.Context, s plan.Step) error {
	if err := e.launch(ctx); err != nil {
		return err
	}
	if e.facts().master && e.ledger.State().Reigns(s.Epoch) {
		return nil
	}
	began := time.Now()
	if err := e.loosen(); err != nil {
		return err
	}
	e.mu.Lock()
	at, _ := e.whereabouts()
	from := e.seen.origin.next(e.o.Node, at)
	from.At = e.seen.offset
	e.mu.Unlock()
	if from.System == "" {
		from.System = newSystem()
	}
	if err := e.ledger.Update(func(st *ledger.State) { st.Reign, st.Standby, st.Upstream = s.Epoch, false, "" }); err != nil {
		return err
	}
	err := e.ask(ctx, e.o.ProbeTimeout, func(ctx context.Context, k *conn) error {
		// With a minimum of standbys the first write would be refused: none has followed yet.
		return all(k.all(ctx, []string{"CONFIG", "SET", "min-replicas-to-write", "0"}, []string{"REPLICAOF", "NO", "ONE"},
			[]string{"MULTI"}, []string{"SET", keyEpoch, fmt.Sprint(s.Epoch)}, []string{"SET", keyOrigin, from.String()}, []string{"EXEC"},
			[]string{"CONFIG", "SET", "min-replicas-to-write", fmt.Sprint(e.o.MinStandbys)}))
	})
	if err == nil {
		err = e.refresh(ctx)
	}
	if err != nil { // what may have become a primary and is not known to be one must not be one later
		e.sup.Kill(ctx)
		return fmt.Errorf("it did not become primary and was stopped: %w", err)
	}
	e.mu.Lock()
	e.probe, e.synced = probe{last: time.Now()}, true
	e.mu.Unlock()
	took := time.Since(began)
	e.tell.Record(act.EventPromoted, fmt.Sprintf("%s is the primary of epoch %d", e.o.Node, s.Epoch), fmt.Sprintf("promoted in %v", took.Round(time.Millisecond)), map[string]any{"epoch": s.Epoch})
	return nil
}

// all is the first refusal among answers.
func all(answers []answer, err error) error {
	for _, a := range answers {
		err = errors.Join(err, a.err)
	}
	return err
}

// detach has the instance follow nobody, as a standby: it takes no writes from here on, and nothing from any upstream.
func (e *Engine) detach(ctx context.Context) error {
	if err := e.command(ctx, "REPLICAOF", nowhereHost, nowherePort); err != nil {
		return err
	}
	return e.refresh(ctx)
}

// stepDown detaches, and has a primary's standbys take all there is.
func (e *Engine) stepDown(ctx context.Context) error {
	if err := e.refresh(ctx); err != nil {
		return err
	}
	was := e.facts()
	if err := e.detach(ctx); err != nil {
		return err
	}
	if was.master {
		e.handover(ctx)
	}
	return nil
}

// handover waits until the standbys that were connected have what there is, as they say themselves, for at most the
// timeout: who decides who takes over looks at positions.
func (e *Engine) handover(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, e.o.HandoverTimeout)
	defer cancel()
	f := e.facts()
	for _, d := range f.downs {
		err := act.Poll(ctx, func() (bool, error) {
			its, err := e.lookAt(ctx, d.address)
			return err != nil || its.replid == f.replid && its.offset >= f.offset, nil
		})
		if err != nil {
			e.log.Warn("a standby did not take everything in time", "standby", d.address)
		}
	}
}

func (e *Engine) demote(ctx context.Context, _ plan.Step) error {
	if e.empty() {
		return errors.New("there is no data to demote")
	}
	st := e.ledger.State()
	if !st.Standby && e.running() {
		if err := e.stepDown(ctx); err != nil {
			e.sup.Kill(ctx)
		}
	}
	if err := e.ledger.Update(func(st *ledger.State) {
		if !st.Standby {
			st.Standby, st.Upstream = true, ""
		}
	}); err != nil {
		return err
	}
	return e.launch(ctx)
}

// fence makes sure that nothing older than the epoch is taken by this instance: no client's write, if it was primary, and
// nothing of an older primary's stream. The epoch is on disk already.
func (e *Engine) fence(ctx context.Context, s plan.Step) error {
	if e.ledger.State().Reigns(s.Epoch) {
		return nil // the primary of this very epoch
	}
	began := time.Now()
	if e.running() {
		err := e.detach(ctx)
		if refused(err, "LOADING") && e.refresh(ctx) == nil && e.facts().detached() {
			err = nil // it is only being started, and follows nobody yet
		}
		if err != nil && e.running() {
			e.tell.Record(act.EventForced, fmt.Sprintf("%s did not let go of its stream and was killed", e.o.Node), err.Error(), nil)
			e.sup.Kill(ctx)
		}
	}
	standby := !e.empty() || e.ledger.State().Copying
	if err := e.ledger.Update(func(st *ledger.State) { st.Fenced, st.Standby, st.Upstream = true, st.Standby || standby, "" }); err != nil {
		return err
	}
	e.tell.Record(act.EventFenced, fmt.Sprintf("%s takes nothing older than epoch %d", e.o.Node, s.Epoch), "", map[string]any{"took": time.Since(began), "epoch": s.Epoch})
	return nil
}

// follow changes the upstream. Whoever may have what the upstream does not has it put aside first; who does have such is
// refused.
func (e *Engine) follow(ctx context.Context, s plan.Step) error {
	if e.empty() && !e.ledger.State().Copying {
		return errors.New("there is no data that could follow: clone it")
	}
	if err := e.turnTo(ctx, s); err != nil {
		return err
	}
	return e.attach(ctx, s.Upstream, false)
}

// turnTo lets go of an older upstream and notes the new one; the instance runs afterwards.
func (e *Engine) turnTo(ctx context.Context, s plan.Step) error {
	if _, err := e.peer(s.Upstream); err != nil {
		return err
	}
	st := e.ledger.State()
	if e.running() && st.Upstream != "" && (st.Upstream != s.Upstream || st.Held != s.Epoch) {
		if err := e.detach(ctx); err != nil {
			e.sup.Kill(ctx)
		}
	}
	if err := e.ledger.Update(func(st *ledger.State) { st.Fenced, st.Standby, st.Upstream = false, true, s.Upstream }); err != nil {
		return err
	}
	return e.launch(ctx)
}

// checkpoint rewrites the append-only file, so that the next start has little to read.
func (e *Engine) checkpoint(ctx context.Context, _ plan.Step) error {
	if !e.running() {
		return act.ErrNotRunning
	}
	err := e.command(ctx, "BGREWRITEAOF")
	if err != nil && !refused(err, "ERR Background append only file rewriting already in progress") {
		return err
	}
	return nil
}
