package postgres

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A reach is how far a history goes on one timeline.
type reach struct {
	timeline uint32
	end      uint64
}

// parseHistory reads a timeline's history file: the timelines it came over, and where it left each; the timeline itself
// is last and has no end.
func parseHistory(timeline uint32, text string) ([]reach, error) {
	var way []reach
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 2 || strings.HasPrefix(f[0], "#") {
			continue
		}
		n, err := strconv.ParseUint(f[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("history of timeline %d: %q", timeline, lines.Text())
		}
		end, err := parseLSN(f[1])
		if err != nil {
			return nil, fmt.Errorf("history of timeline %d: %w", timeline, err)
		}
		way = append(way, reach{uint32(n), end})
	}
	return append(way, reach{timeline, math.MaxUint64}), lines.Err()
}

// forkOf returns where two histories part; false where they share no timeline.
func forkOf(a, b []reach) (uint64, bool) {
	at, ok := uint64(0), false
	for i := 0; i < len(a) && i < len(b) && a[i].timeline == b[i].timeline; i++ {
		at, ok = min(a[i].end, b[i].end), true
		if a[i].end != b[i].end {
			break
		}
	}
	return at, ok
}

// rescueTail puts aside what the stopped instance has beyond the point where its history and the upstream's part.
func (e *Engine) rescueTail(ctx context.Context, upstream string) error {
	own := e.readDown()
	if own.problem != "" || own.timeline == 0 {
		return fmt.Errorf("what is there cannot be read: %s", own.problem)
	}
	var text string
	if own.timeline > 1 {
		file, err := os.ReadFile(e.data("pg_wal", fmt.Sprintf("%08X.history", own.timeline)))
		if err != nil {
			return err
		}
		text = string(file)
	}
	ours, err := parseHistory(own.timeline, text)
	if err != nil {
		return err
	}
	theirs, err := e.upstreamHistory(ctx, upstream)
	if err != nil {
		return err
	}
	at, ok := forkOf(ours, theirs)
	if !ok {
		return fmt.Errorf("the histories of %s and %s share no timeline", e.o.Node, upstream)
	}
	if own.position <= at {
		return nil
	}
	return e.rescue(ctx, upstream, at)
}

// upstreamHistory asks the upstream how it came to its timeline.
func (e *Engine) upstreamHistory(ctx context.Context, upstream string) ([]reach, error) {
	cfg, err := e.remote(upstream, "postgres")
	c, err := connect(ctx, cfg, err)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", upstream, err)
	}
	defer func() { _ = c.Close(ctx) }()
	var timeline int64
	if err := c.QueryRow(ctx, "SELECT timeline_id FROM pg_control_checkpoint()").Scan(&timeline); err != nil {
		return nil, err
	}
	var text []byte
	if timeline > 1 {
		err := c.QueryRow(ctx, "SELECT pg_read_binary_file($1)", pgx.QueryExecModeExec, fmt.Sprintf("pg_wal/%08X.history", timeline)).Scan(&text)
		if err != nil {
			return nil, fmt.Errorf("history of %s: %w", upstream, err)
		}
	}
	return parseHistory(uint32(timeline), string(text))
}
