package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// gap is the longest time without an acknowledgement, from the first of those given until the end.
func gap(acks []acknowledgement, end time.Time) (longest time.Duration) {
	if len(acks) == 0 {
		return 0
	}
	last := acks[0].at
	for _, a := range acks[1:] {
		longest = max(longest, a.at.Sub(last))
		last = a.at
	}
	return max(longest, end.Sub(last))
}

// When a row was written lies between the question and the answer. The writer's clock says it exactly as long as it agrees with
// the client's; where somebody has moved it, the bounds remain: at the earliest, at the latest.
func (a acknowledgement) bounds() (earliest, latest time.Time) {
	if a.wrote.Before(a.sent.Add(-time.Millisecond)) || a.wrote.After(a.at.Add(time.Millisecond)) {
		return a.sent, a.at
	}
	return a.wrote, a.wrote
}

// two is for how long at least two instances wrote rows that were acknowledged: the last of an earlier reign after the first of a
// later one. A reign is an instance on a timeline.
func two(acks []acknowledgement) (worst time.Duration) {
	type reign struct {
		node  string
		epoch int64
	}
	type span struct{ first, last time.Time }
	reigns := map[reign]span{}
	for _, a := range acks {
		r := reign{a.node, a.epoch}
		earliest, latest := a.bounds()
		s, ok := reigns[r]
		if !ok || latest.Before(s.first) {
			s.first = latest
		}
		if earliest.After(s.last) {
			s.last = earliest
		}
		reigns[r] = s
	}
	var spans []span
	for _, s := range reigns {
		spans = append(spans, s)
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first.UnixNano(), b.first.UnixNano()) })
	for i := 1; i < len(spans); i++ {
		for _, earlier := range spans[:i] {
			worst = max(worst, earlier.last.Sub(spans[i].first))
		}
	}
	return worst
}

// verify reads everything back, of this round and those before: rows acknowledged and absent, and rows present although their
// statement failed. Each is told once; what is lost, by whom it was acknowledged.
func (c *client) verify(ctx context.Context) (lost map[string]int, extra int, err error) {
	var conn *pgx.Conn
	for _, d := range c.doors {
		if conn, err = c.connect(ctx, d.address); err == nil {
			break
		}
	}
	if err != nil {
		return nil, 0, err
	}
	defer closeSoon(conn)
	rows, err := conn.Query(ctx, "SELECT id FROM rows")
	if err != nil {
		return nil, 0, err
	}
	present, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.acks {
		c.acked[a.id] = fmt.Sprintf("%s on timeline %d", a.node, a.epoch)
	}
	there := make(map[int64]string, len(present))
	for _, id := range present {
		if by, ok := c.acked[id]; ok {
			there[id] = by
			delete(c.acked, id)
		}
		if c.unsure[id] {
			delete(c.unsure, id)
			extra++
		}
	}
	lost = map[string]int{}
	for _, by := range c.acked {
		lost[by]++
	}
	c.acked = there
	return lost, extra, nil
}

// forget begins anew with an empty table.
func (c *client) forget(ctx context.Context) error {
	err := until(ctx, 20*time.Second, func() error { return c.ask(ctx, nil, createSQL+"; TRUNCATE rows") })
	c.acked, c.unsure = map[int64]string{}, map[int64]bool{}
	return err
}
