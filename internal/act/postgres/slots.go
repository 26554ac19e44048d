package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act/rescue"
	"github.com/backstay/backstay/internal/decide/plan"
)

// keeping keeps the replication slots in step with the peers, and follows up promotions.
func (e *Engine) keeping(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	made := uint64(0)
	var files [sha256.Size]byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-e.fresh:
			if err := e.checkpoint(ctx, plan.Step{}); err != nil {
				e.log.Debug("checkpoint after a promotion", "error", err)
			}
		}
		if err := errors.Join(e.ledger.Replenish(), e.keepSlots(ctx)); err != nil {
			e.log.Debug("slots", "error", err)
		}
		if err := e.aside.Tend(time.Now()); err != nil {
			e.log.Warn("what was put aside is not bounded", "error", err)
		}
		made = e.keepRoles(ctx, made)
		files = e.keepFiles(ctx, files)
		e.lookPending(ctx)
	}
}

// keepRoles sees once in each reign that the members' roles are there and may do what they need: a creation may have been
// called off half-way. It returns the reign for which that is known.
func (e *Engine) keepRoles(ctx context.Context, known uint64) uint64 {
	reign := e.state().Reign
	e.mu.Lock()
	primary := e.seen.known && !e.seen.recovery
	e.mu.Unlock()
	if reign == known || !primary || !e.answers() {
		return known
	}
	if err := e.makeRoles(ctx); err != nil {
		e.log.Warn("the roles of the members could not be made", "error", err)
		return known
	}
	return reign
}

type slot struct {
	name   string
	active bool
	lost   bool  // what it was to keep is gone: nobody can go on from it
	lag    int64 // bytes of WAL it holds back
	at     uint64
}

// keepSlots has one physical slot for each peer, on a primary so that it keeps what they have not got, on a standby so
// that after its promotion they still find it. Slots of former peers are dropped.
func (e *Engine) keepSlots(ctx context.Context) error {
	if !e.answers() {
		return nil
	}
	e.mu.Lock()
	peers, recovery := slices.Sorted(maps.Keys(e.o.Peers)), e.seen.recovery
	e.mu.Unlock()
	return e.session(ctx, 10*time.Second, func(ctx context.Context, c *pgx.Conn) error {
		have, err := listSlots(ctx, c)
		if err != nil {
			return err
		}
		var errs []error
		for _, node := range peers {
			name := slotName(node)
			s, ok := have[name]
			delete(have, name)
			switch {
			case node == e.o.Node:
			case ok && s.lost && !s.active: // anew, so that whoever is copied anew finds one that keeps what it needs
				_, err = c.Exec(ctx, "SELECT pg_drop_replication_slot($1)", name)
				if err == nil {
					_, err = c.Exec(ctx, "SELECT pg_create_physical_replication_slot($1, true)", name)
				}
				errs = append(errs, err)
			case !ok:
				_, err = c.Exec(ctx, "SELECT pg_create_physical_replication_slot($1, true)", name)
				errs = append(errs, err)
			case !s.active && (recovery || e.elsewhere(node)):
				errs = append(errs, e.advance(ctx, c, node, s))
			}
		}
		for _, s := range have {
			if !s.active && strings.HasPrefix(s.name, "backstay_") {
				_, err = c.Exec(ctx, "SELECT pg_drop_replication_slot($1)", s.name)
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
}

func listSlots(ctx context.Context, c *pgx.Conn) (map[string]slot, error) {
	rows, err := c.Query(ctx, `SELECT slot_name, active, COALESCE(wal_status = 'lost', false), COALESCE((restart_lsn - '0/0')::bigint, 0),
 COALESCE((CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - restart_lsn)::bigint, 0)
 FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	have := map[string]slot{}
	for rows.Next() {
		var s slot
		var at int64
		if err := rows.Scan(&s.name, &s.active, &s.lost, &at, &s.lag); err != nil {
			return nil, err
		}
		s.at = uint64(at)
		have[s.name] = s
	}
	return have, rows.Err()
}

func (e *Engine) elsewhere(node string) bool {
	return e.o.PeerElsewhere != nil && e.o.PeerElsewhere(node)
}

// advance lets go of WAL that a peer does not need from this instance: what the peer has, or, where that is not known,
// all but the last of it.
func (e *Engine) advance(ctx context.Context, c *pgx.Conn, node string, s slot) error {
	const kept = 256 << 20
	e.mu.Lock()
	applied, position := e.seen.applied, e.o.PeerPosition
	if !e.seen.recovery {
		applied = e.seen.position
	}
	e.mu.Unlock()
	to := applied - min(applied, kept)
	if position != nil {
		if at, ok := position(node); ok {
			to = min(at, applied)
		}
	}
	if s.lag <= 0 || to <= s.at {
		return nil
	}
	if _, err := c.Exec(ctx, "SELECT pg_replication_slot_advance($1, $2::pg_lsn)", s.name, lsn(to)); err != nil {
		return fmt.Errorf("advance slot of %s: %w", node, err)
	}
	return nil
}

// SetRescue changes the bounds of what is put aside.
func (e *Engine) SetRescue(l rescue.Limits) { e.aside.Limit(l) }

// Configure changes what may change while the engine lives: the peers, the user's parameters and lines of pg_hba.conf.
// A running instance reads them at once; what needs a restart waits for a Restart step.
func (e *Engine) Configure(peers, parameters map[string]string, hba []string) error {
	if err := errors.Join(CheckParameters(parameters), CheckHBA(hba)); err != nil {
		return err
	}
	e.mu.Lock()
	e.o.Peers, e.o.Parameters, e.o.HBA = maps.Clone(peers), maps.Clone(parameters), slices.Clone(hba)
	settled := e.settled
	e.mu.Unlock()
	if !settled || e.process() == nil {
		return nil
	}
	return e.reload()
}
