package control

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/decide/plan"
)

// Errors of what operators ask for; compare with errors.Is.
var (
	// ErrNoService says that no service of that name is looked after here.
	ErrNoService = errors.New("no such service")
	// ErrNoRecord says that nothing is agreed about the service yet.
	ErrNoRecord = errors.New("nothing is agreed about the service yet")
	// ErrWished says that an earlier wish is not fulfilled yet.
	ErrWished = errors.New("an earlier request is not finished")
	// ErrImpossible says that the rules would refuse the wish.
	ErrImpossible = errors.New("it is not possible now")
)

// Wish records what an operator asks for; the nodes fulfil or refuse it. ErrWished while an earlier one is pending, unless
// the new one is a failover by force; ErrImpossible where it would be refused, as far as this node knows.
func (c *Control) Wish(ctx context.Context, service string, w failover.Wish) error {
	if v, err := c.View(service); err == nil && (v.State == nil || v.State.Wish == nil) {
		if why := failover.Objection(v, w); why != "" {
			return fmt.Errorf("service %s: %s: %w: %s", service, w.Kind, ErrImpossible, why)
		}
	}
	if w.ID == "" {
		w.ID = rand.Text()[:8]
	}
	if w.At.IsZero() {
		w.At = time.Now()
	}
	return c.changeService(ctx, service, func(s *failover.State) error {
		if s.Wish != nil && s.Wish.ID != w.ID && w.Kind != failover.WishFailover {
			return fmt.Errorf("%w: %s to %q", ErrWished, s.Wish.Kind, s.Wish.To)
		}
		s.Wish = &w
		return nil
	})
}

// Pause takes the automatic hand away from a service, or gives it back.
func (c *Control) Pause(ctx context.Context, service string, paused bool) error {
	return c.changeService(ctx, service, func(s *failover.State) error { s.Paused, s.PausedFor = paused, ""; return nil })
}

func (c *Control) changeService(ctx context.Context, service string, do func(*failover.State) error) error {
	u := c.unit(service)
	if u == nil {
		return fmt.Errorf("service %q: %w", service, ErrNoService)
	}
	if err := c.change(ctx, u, do); err != nil {
		return fmt.Errorf("service %s: %w", service, err)
	}
	return nil
}

// change changes a record, again and again until nobody else did at the same time.
func (c *Control) change(ctx context.Context, u *unit, do func(*failover.State) error) error {
	for {
		kv, err := c.o.Store.Get(ctx, u.stateKey())
		if errors.Is(err, cluster.ErrNotFound) {
			return ErrNoRecord
		}
		if err != nil {
			return err
		}
		var s failover.State
		if err := json.Unmarshal(kv.Value, &s); err != nil {
			return err
		}
		if err := do(&s); err != nil {
			return err
		}
		value, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if _, err = c.o.Store.Put(ctx, u.stateKey(), value, kv.Revision); !errors.Is(err, cluster.ErrConflict) {
			return err
		}
	}
}

// State returns what this node knows of a service's record; nil where there is none.
func (c *Control) State(service string) *failover.State {
	u := c.unit(service)
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.view.State
}

// View returns what a judgement about a service would be made from now; `failover.Decide` of it explains.
func (c *Control) View(service string) (failover.View, error) {
	u := c.unit(service)
	if u == nil {
		return failover.View{}, fmt.Errorf("service %q: %w", service, ErrNoService)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.view, nil
}

// Explain says in a few lines what is thought of a service, by which rule and from which facts, and what is under way.
func (c *Control) Explain(service string) (string, error) {
	v, err := c.View(service)
	if err != nil {
		return "", err
	}
	return failover.Explain(v), nil
}

// leave waits until this node is not primary, or nobody can take over, and stops the instance.
func (u *unit) leave(ctx context.Context) error {
	if u.engine == nil {
		return nil
	}
	began := time.Now()
	ticker := time.NewTicker(u.svc.Heartbeat)
	defer ticker.Stop()
	for u.mustHandOver(began) && ctx.Err() == nil {
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	u.mu.Lock()
	epoch := u.report.Observation.Epoch // what it has made good; a step under way may have brought a newer one
	if s := u.view.State; s != nil {
		epoch = max(epoch, s.Epoch)
	}
	u.mu.Unlock()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.svc.CatchUp)
	defer cancel()
	err := u.engine.Do(stop, plan.Step{Kind: plan.Stop, Mode: plan.Fast, Service: u.svc.Name, Node: u.c.o.Self, Epoch: epoch})
	return errors.Join(err, u.lease.Release(stop))
}

// mustHandOver says whether a switchover is due or under way: within a heartbeat or two of the wish to leave it begins,
// or there is none.
func (u *unit) mustHandOver(began time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.view.State
	if s == nil || s.Primary != u.c.o.Self && (s.Plan == nil || s.Plan.Kind != failover.PlanSwitchover || s.Last != u.c.o.Self) {
		return false
	}
	return s.Plan != nil && s.Plan.Kind == failover.PlanSwitchover || time.Since(began) < 6*u.svc.Heartbeat
}
