package ledger

import (
	"fmt"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

// admit refuses what must not be done, and has the epoch of what may on disk before anything else happens.
func (l *Ledger) admit(s plan.Step) error {
	if err := l.stale(s); err != nil {
		return err
	}
	st, c := l.State(), l.o.Condition()
	if err := l.outOfPlace(s, st, c); err != nil {
		return err
	}
	return l.Update(func(st *State) {
		if s.Epoch > st.Epoch {
			st.Epoch, st.Fenced = s.Epoch, false
		}
	})
}

// outOfPlace says why a step is not for this instance as it is.
func (l *Ledger) outOfPlace(s plan.Step, st State, c Condition) error {
	reigns := st.Reign > 0 && st.Reign == s.Epoch && !c.Standby
	switch s.Kind {
	case plan.Create:
		if !c.Empty && !reigns && (st.Reign > 0 || c.Standby || st.Upstream != "") { // where it was never anything it is one to adopt
			return act.ErrNotEmpty
		}
	case plan.Promote:
		if !reigns && (!st.Fenced || st.Epoch != s.Epoch) {
			return act.ErrNotFenced
		}
		if st.Copying {
			return ErrCopying
		}
	case plan.Start, plan.Restart:
		if !c.Empty && !c.Standby && !reigns {
			return fmt.Errorf("it was primary under epoch %d: fence it and promote it, or let it follow: %w", st.Reign, act.ErrNotFenced)
		}
	case plan.Follow:
		if !c.Empty && !c.Standby {
			return fmt.Errorf("it is a primary, or was: demote it first: %w", act.ErrRole)
		}
	case plan.SetSync:
		if !c.Running {
			return act.ErrNotRunning
		}
		if c.Standby {
			return act.ErrRole
		}
	}
	switch s.Kind {
	case plan.Follow, plan.Clone, plan.Rewind:
		if s.Upstream == l.o.Node || s.Upstream == "" {
			return fmt.Errorf("upstream %q: %w", s.Upstream, act.ErrRole)
		}
	case plan.SetSync, plan.Promote:
		if s.Quorum > 0 && !l.o.Synchronous {
			return fmt.Errorf("its replication is asynchronous, no write waits for %d of %v: %w", s.Quorum, s.Names, act.ErrUnsupported)
		}
	}
	if l.o.Refuse != nil {
		return l.o.Refuse(s, st, c)
	}
	return nil
}
